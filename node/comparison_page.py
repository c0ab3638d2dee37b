"""A comparison of two versions as plain data, as text, and as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from node.agreement import Agreement, Difference
from node.comparison import MOST_GROUPS, Comparison, Example, Finding, Group
from pipelines import registry


def plain(found: Comparison) -> dict[str, Any]:
    """For a machine (JSON)."""
    return {
        "pipeline": found.pipeline, "old": found.old, "new": found.new, "studies": found.studies,
        "only_old": found.only_old, "only_new": found.only_new, "findings": [_finding(one) for one in found.findings],
        "groups": [{"feature": one.feature, "value": one.value, "studies": one.n,
                    "findings": [_finding(each) for each in one.findings]} for one in found.groups],
        "examples": [{"study": one.study_uid, "revision": one.revision, "opposite": list(one.opposite),
                      "values": {name: list(pair) for name, pair in one.values.items()}} for one in found.examples],
    }  # fmt: skip


def _finding(one: Finding) -> dict[str, Any]:
    said: dict[str, Any] = {"finding": one.name}
    if one.positive is not None:
        of = one.positive
        said |= {"studies": of.n, "both_positive": of.both, "only_old": of.only_old, "only_new": of.only_new,
                 "neither": of.neither, "share": of.share, "kappa": of.kappa,
                 "kappa_interval": of.interval}  # fmt: skip
    for kind, of_kind in one.numbers.items():
        said[kind] = {"studies": of_kind.n, "mean": of_kind.mean, "interval": of_kind.interval,
                      "limits": of_kind.limits}  # fmt: skip
    return said


# -- the cells of the tables, the same in the terminal and on the page -------------------------------------------------

HEAD = ("finding", "studies", "both positive", "only old", "only new", "neither", "kappa (95 %)",
        "new - old: mean (95 %)", "limits of agreement")  # fmt: skip
_SHOWN = {"p": ("p", 3), "volume": ("volume (ml)", 1)}  # name, digits after the point


def cells(one: Finding) -> tuple[str, ...]:
    """One finding as a row under HEAD; an empty cell: no study has it from both."""
    means, limits = [], []
    for kind, of in one.numbers.items():
        mean, between = _difference(kind, of)
        means.append(mean)
        limits += [between] if between else []
    return (one.name, *_counts(one.positive, one.numbers), "; ".join(means), "; ".join(limits))


def _counts(of: Agreement | None, numbers: Mapping[str, Difference]) -> tuple[str, ...]:
    if of is None:
        return (str(max((one.n for one in numbers.values()), default="")), *[""] * 5)
    kappa, interval = of.kappa, of.interval
    said = "not defined" if kappa is None else f"{kappa:.2f}"
    said += "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
    return str(of.n), str(of.both), str(of.only_old), str(of.only_new), str(of.neither), said


def _difference(kind: str, of: Difference) -> tuple[str, str]:
    """The mean with its interval, and the limits of agreement."""
    name, digits = _SHOWN[kind]
    mean = f"{name} {of.mean:+.{digits}f}"
    if of.interval is None or of.limits is None:
        return mean, ""
    low, high = of.interval
    return (f"{mean} ({low:+.{digits}f} to {high:+.{digits}f})",
            f"{of.limits[0]:+.{digits}f} to {of.limits[1]:+.{digits}f}")  # fmt: skip


def group_lines(group: Group) -> Iterator[str]:
    """One subgroup in lines, one for each finding of which both versions tell something."""
    for one in group.findings:
        said = [] if one.positive is None else [f"{one.positive.share:.0%} the same"]
        said += [f"new - old: {_difference(kind, of)[0]}" for kind, of in one.numbers.items()]
        if said:
            yield f"{group.feature} = {group.value} ({group.n}): {one.name}: {'; '.join(said)}"


def title(found: Comparison) -> str:
    """What is compared, in a line."""
    what = "model" if registry.parts(found.old)[1] is None else "version"
    return f"{found.pipeline}: {what} {found.old} (old) and {found.new} (new) on {found.studies} studies that both read"


def alone(found: Comparison) -> str:
    """What only one of them has read, in a line."""
    return f"Read by the old one alone: {found.only_old}; by the new one alone: {found.only_new}."


def example_cells(one: Example) -> tuple[str, str, str]:
    """A study, where they say the opposite, and the numbers of each finding."""
    told = ", ".join(f"{name} {_short(a)} and {_short(b)}" for name, (a, b) in one.values.items())
    return f"{one.study_uid} (revision {one.revision})", ", ".join(one.opposite) or "-", told


def _short(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.4g}"


def of_features(groups: Sequence[Group]) -> Mapping[str, list[Group]]:
    """Groups by feature, in their order."""
    found: dict[str, list[Group]] = {}
    for one in groups:
        found.setdefault(one.feature, []).append(one)
    return found


def page(found: Comparison) -> str:
    """The page: HTML without scripts and without anything from elsewhere."""
    return "\n".join(_page(found))


_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; color: #1a1a1a }
h1 { font-size: 1.35rem } h2 { font-size: 1.1rem; margin-top: 2rem } h3 { font-size: 1rem; margin-bottom: .3rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .5rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child, .words td, .words th { text-align: left }
.groups td:nth-child(2), .groups th:nth-child(2) { text-align: left }
.words td { white-space: normal; overflow-wrap: anywhere }
th { font-weight: 600; border-bottom: 2px solid #888 } p { max-width: 60rem } .note { color: #555 }
"""
_NOTE = ("Kappa is agreement beyond chance: 1 is all, 0 is what chance makes; its interval takes the rates as given. "
         "Differences are new minus old, with the 95 % interval of their mean; 95 % of studies lie within the limits. "
         "Agreement is no accuracy: where both are wrong, they agree. "
         f"Of each kind of subgroup the {MOST_GROUPS} largest ones are shown.")  # fmt: skip


def _page(found: Comparison) -> Iterator[str]:
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title(found))}</title>'
    yield f"<style>{_STYLE}</style></head><body>\n<h1>{escape(title(found))}</h1>\n<p>{escape(alone(found))}</p>"
    yield f'<p class="note">{escape(_NOTE)}</p>\n<h2>Findings</h2>'
    yield _table(HEAD, [cells(one) for one in found.findings])
    yield "<h2>Studies that they disagree most on</h2>"
    yield _examples(found.examples) if found.examples else "<p>None: they say the same everywhere.</p>"
    yield "<h2>By subgroup</h2>"
    for feature, groups in of_features(found.groups).items():
        yield f"<h3>{escape(feature)}</h3>"
        rows = [(f"{one.value} ({one.n})", *cells(each)) for one in groups for each in one.findings]
        yield _table(("group (studies)", *HEAD), rows, "groups")
    yield "</body></html>\n"


def _examples(examples: Iterable[Example]) -> str:
    head = ("study", "opposite", "old and new: p, or volume (ml) where there is no p")
    return _table(head, [example_cells(one) for one in examples], "words")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}"><tr>{top}</tr>\n{body}</table></div>'
