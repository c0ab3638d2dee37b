"""What a report consists of, before it is HTML or PDF: both show the same content."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from node.rates import Rate


@dataclass(frozen=True)
class Text:
    """A paragraph. `remark`: what limits the numbers beside it, shown as an aside."""

    text: str
    remark: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under column titles; the columns from `numbers` on are set to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 1


@dataclass(frozen=True)
class Bars:
    """A bar chart: one value for each label. `edges`: a label stands at the left edge of its bar, and 1 at the end."""

    title: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    axis: str  # what the labels are, with their unit
    edges: bool = False

    @property
    def top(self) -> float:
        """Where the axis of values ends: an even number, so that its middle is a whole one."""
        return 2.0 * max(1, math.ceil(max(self.values) / 2))


Block = Text | Table | Bars


@dataclass(frozen=True)
class Section:
    """A numbered part of the report."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Figure:
    """One number at a glance. `good`: False draws the eye."""

    title: str
    value: str
    beside: str = ""
    good: bool = True


@dataclass(frozen=True)
class Report:
    """All of it."""

    title: str
    subtitle: str
    made: str
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]


def seconds(value: float | None) -> str:
    """A duration with its unit, as people read it."""
    if value is None:
        return "–"
    if value < 100:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.1f} min"
    return f"{value / 3600:.1f} h" if value < 172800 else f"{value / 86400:.1f} d"


def share(count: int, total: int) -> str:
    """A percentage; a dash where there is nothing to take it of."""
    return f"{100 * count / total:.1f} %" if total else "–"


def interval(one: Rate) -> str:
    """A percentage with its 95 % confidence interval; a dash where there is nothing to take it of."""
    if one.value is None or one.low is None or one.high is None:
        return "–"
    return f"{100 * one.value:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f})"


def quantile(values: Sequence[float], q: float) -> float | None:
    """The value below which a share `q` lies, interpolated; None for no values."""
    if not values:
        return None
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
