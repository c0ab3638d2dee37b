"""Which pipelines a study runs and who gets the results: conditions are data, checked at start; all of it is pure.

A route takes a study when at least one series fulfils every condition of its `match` table and the sender is
in `from` (any sender when it is empty). A condition on a DICOM keyword is a plain value or list (equal to one of
them, case ignored), `{ regex = "..." }` (found anywhere, case ignored), or `{ min = x, max = y }` (inclusive).
A multi-valued attribute fulfils a condition when one of its values does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import tag_for_keyword

from node.config import Config
from node.errors import ConfigError
from node.modes import SAYS, Mode, in_force
from node.sections import ALL_EVIDENCE, Peer, Route, nearest
from pipelines.base import quoted

AFTER_ALL = -100  # the priority of candidates below that of what goes out
Header = Mapping[str, Sequence[str]]  # DICOM keyword -> its values as text, of one series
_KEYS = {"regex", "min", "max", "in"}


@dataclass(frozen=True)
class Condition:
    """One keyword's condition. `text` says it in words; `holds` tests one value."""

    keyword: str
    text: str
    holds: Callable[[str], bool] = field(compare=False)

    def why_not(self, header: Header) -> str | None:
        """None when it holds for the series, else the reason in words. Never shows a patient's attribute."""
        values = header.get(self.keyword, ())
        if not values:
            return f"{self.keyword} is absent, wanted {self.text}"
        if any(self.holds(value) for value in values):
            return None
        shown = "another value" if self.keyword.startswith("Patient") else quoted(values)
        return (
            f"{self.keyword} is {shown!r}, wanted {self.text}"
            if shown != "another value"
            else f"{self.keyword} differs"
        )


@dataclass(frozen=True)
class Answer:
    """What one route says of one study."""

    route: str
    takes: bool
    reason: str
    off: bool = False  # it would take it, but is switched off


@dataclass(frozen=True)
class Plan:
    """What a study is to run: pipeline -> (routes, peers, priority), how long to wait and for what, and every route's
    answer."""

    jobs: tuple[tuple[str, tuple[str, ...], tuple[str, ...], int], ...]
    quiet_time: float
    longest_wait: float
    answers: tuple[Answer, ...]
    evidence: frozenset[str] = frozenset(ALL_EVIDENCE)
    count_from: tuple[str, ...] = ()  # peers that know how many instances there are
    candidates: tuple[tuple[str, tuple[str, ...], int], ...] = ()  # PIPELINE@VERSION -> (routes, priority)


class Routes:
    """The compiled routes of a configuration. Raises ConfigError for an unknown keyword, pipeline or bad condition."""

    def __init__(self, config: Config, pipelines: Iterable[str]) -> None:
        known = sorted(pipelines)
        self._node = config.node
        self._peers = {peer.name: peer for peer in config.peers}
        self._routes: list[tuple[Route, tuple[Condition, ...]]] = []
        for route in config.routes:
            for name in route.pipelines:
                if name not in known:
                    raise ConfigError(f"route {route.name!r}: pipelines", f"no pipeline {name!r}{nearest(name, known)}")
            conditions = tuple(_condition(route.name, key, wanted) for key, wanted in route.match.items())
            self._routes.append((route, conditions))

    @property
    def keywords(self) -> tuple[str, ...]:
        """Every DICOM keyword that some condition reads."""
        return tuple(sorted({c.keyword for _, conditions in self._routes for c in conditions}))

    @property
    def shortest_quiet_time(self) -> float:
        """No study is complete before this many quiet seconds."""
        stated = [peer.quiet_time for peer in self._peers.values()] + [route.quiet_time for route, _ in self._routes]
        return min([self._node.quiet_time, *(time for time in stated if time is not None)])

    def plan(self, series: Sequence[Header], senders: Iterable[str], stored: Mapping[str, Mode] | None = None) -> Plan:
        """Ask every route about a study: one header per series, and the names of the peers that sent it. `stored`: the
        modes that were set for routes."""
        senders = set(senders)
        answers, taking = [], []
        modes = in_force({route.name: route.mode for route, _ in self._routes}, stored or {})
        for route, conditions in self._routes:
            reason = self._why_not(route, conditions, series, senders)
            mode = modes[route.name]
            off = reason is None and mode == "off"
            takes = reason is None and not off
            answers.append(Answer(route.name, takes, reason or _matches(mode), off))
            if takes:
                taking.append(route)
        jobs: dict[str, tuple[list[str], list[str], int]] = {}
        for route in taking:
            for name in route.pipelines:
                names, peers, priority = jobs.get(name, ([], [], route.priority))
                jobs[name] = ([*names, route.name], [*peers, *(p for p in route.send_to if p not in peers)],
                              max(priority, route.priority))  # fmt: skip
        planned = tuple((name, tuple(n), tuple(p), priority) for name, (n, p, priority) in jobs.items())
        beside = {variant: tuple(one.name for one in taking if variant in one.shadow)
                  for route in taking for variant in route.shadow}  # fmt: skip
        last = min((route.priority for route in taking), default=0) + AFTER_ALL
        candidates = tuple((variant, names, last) for variant, names in beside.items())
        known = [self._peers[name] for name in sorted(senders) if name in self._peers]
        quiet, wait = self._waits(taking, known)
        allowed = [route.evidence for route in taking] + [peer.evidence for peer in known]
        evidence = frozenset(ALL_EVIDENCE).intersection(*allowed)
        count_from = tuple(dict.fromkeys(one.count_from for one in known if one.count_from is not None))
        return Plan(planned, quiet, wait, tuple(answers), evidence,
                    count_from if "count" in evidence else (),
                    candidates)  # fmt: skip

    def _waits(self, taking: Sequence[Route], senders: Sequence[Peer]) -> tuple[float, float]:
        """Quiet time and longest wait, seconds: a route's own, or else a sender's, or else the node's; the longest of
        several."""
        quiet = [self._node.quiet_time if one.quiet_time is None else one.quiet_time for one in senders]
        wait = [one.longest_wait or self._node.longest_wait for one in senders]
        usual = max(quiet, default=self._node.quiet_time), max(wait, default=self._node.longest_wait)
        if not taking:
            return usual
        return (max(usual[0] if one.quiet_time is None else one.quiet_time for one in taking),
                max(one.longest_wait or usual[1] for one in taking))  # fmt: skip

    @staticmethod
    def _why_not(
        route: Route, conditions: Sequence[Condition], series: Sequence[Header], senders: set[str]
    ) -> str | None:
        if route.from_peers and not senders & set(route.from_peers):
            return f"sent by {', '.join(sorted(senders)) or 'nobody known'}, wanted from {', '.join(route.from_peers)}"
        closest: list[str] | None = None
        for header in series:
            reasons = [reason for c in conditions if (reason := c.why_not(header)) is not None]
            if not reasons:
                return None
            if closest is None or len(reasons) < len(closest):
                closest = reasons
        return f"no series matches; the nearest: {'; '.join(closest)}" if closest else "the study has no series"


def _matches(mode: Mode) -> str:
    if mode == "off":
        return "matches, but is off: no job"
    return "matches" if mode == "live" else f"matches; {mode}: {SAYS[mode]}"


def header_values(dataset: Any, keywords: Iterable[str]) -> Header:
    """The values of some keywords of a pydicom Dataset, as text, absent and empty ones left out."""
    found: dict[str, tuple[str, ...]] = {}
    for keyword in keywords:
        value = dataset.get(keyword)
        if value is None or value == "":
            continue
        many = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else (value,)
        found[keyword] = tuple(str(one) for one in many)
    return found


def _condition(route: str, keyword: str, wanted: Any) -> Condition:
    where = f"route {route!r}: match.{keyword}"
    if tag_for_keyword(keyword) is None:
        raise ConfigError(where, "is not a DICOM keyword (they look like Modality, BodyPartExamined)")
    if not isinstance(wanted, Mapping):
        options = wanted if isinstance(wanted, list) else [wanted]
        return _one_of(where, keyword, options)
    unknown = set(wanted) - _KEYS
    if unknown or not wanted:
        raise ConfigError(
            where, f"want a value, a list, or regex, in, min, max; not {', '.join(sorted(unknown)) or 'nothing'}"
        )
    if "in" in wanted:
        if len(wanted) > 1 or not isinstance(wanted["in"], list):
            raise ConfigError(where, "`in` stands alone and takes a list")
        return _one_of(where, keyword, wanted["in"])
    if "regex" in wanted:
        if len(wanted) > 1:
            raise ConfigError(where, "`regex` stands alone")
        try:
            pattern = re.compile(str(wanted["regex"]), re.IGNORECASE)
        except re.error as error:
            raise ConfigError(where, f"is not a regular expression: {error}") from error
        return Condition(keyword, f"/{wanted['regex']}/", lambda value: pattern.search(value) is not None)
    try:
        low, high = float(wanted.get("min", "-inf")), float(wanted.get("max", "inf"))
    except (TypeError, ValueError) as error:
        raise ConfigError(where, "min and max are numbers") from error
    return Condition(keyword, f"{low:g} to {high:g}", lambda value: _in_range(value, low, high))


def _one_of(where: str, keyword: str, options: list[Any]) -> Condition:
    if not options or not all(isinstance(option, str | int | float) for option in options):
        raise ConfigError(where, "the values must be text or numbers, at least one")
    wanted = {str(option).casefold() for option in options}
    return Condition(keyword, " or ".join(str(o) for o in options), lambda value: value.strip().casefold() in wanted)


def _in_range(value: str, low: float, high: float) -> bool:
    try:
        return low <= float(value) <= high
    except ValueError:
        return False
