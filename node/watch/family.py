"""All channels of one model at one site, watched together against one budget of false alarms.

`step` is a pure function of (state, observation); a replay is the same function over the log, and gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from node.watch import detector, embedding
from node.watch.channels import (
    Category,
    Channel,
    Concordance,
    Event,
    Labelled,
    Number,
    Probability,
    Vector,
    category_of,
    rate_of,
    weights_of,
)
from node.watch.detector import Floats
from node.watch.ranks import draw

QUIET, WATCH, ALARM = "quiet", "watch", "alarm"
BUDGET = 2.0  # false alarms a year, of one model at one site
ARITHMETIC = 2  # what a state counts with; raise it with every change that gives other bits
_WATCH, _CLEAR = 0.1, 0.01  # of the threshold
_CAP = 10.0  # times what one bet alone needs to raise the alarm


def threshold(per_day: float, budget: float = BUDGET) -> float:
    """h of a family: the wanted mean number of studies between false alarms, 365 x volume / budget.

    `per_day`: studies a day; `budget`: false alarms a year. ValueError: one of them is not above 0.
    """
    if per_day <= 0 or budget <= 0:
        raise ValueError(f"{per_day} studies a day and {budget} false alarms a year: both must be above 0")
    return 365 * per_day / budget


class Family:
    """What does not change from study to study: channels, weights, threshold, and the tables put together."""

    def __init__(self, channels: Sequence[Channel], threshold: float, seed: int = 0) -> None:
        """`threshold`: h. `seed`: of the draws that break ties. ValueError: no channel, a name twice, a bad weight."""
        names = [channel.name for channel in channels]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a family needs channels with different names, not {names}")
        if any(channel.weight <= 0 for channel in channels) or threshold <= 0:
            raise ValueError("weights and threshold must be above 0")
        self.channels, self.threshold, self.seed = tuple(channels), threshold, seed
        self.names = tuple(names)
        bets = [weights_of(channel) for channel in channels]
        self.widest = max(len(one) for one in bets)
        total = sum(channel.weight for channel in channels)
        self.shares = np.array([channel.weight / total for channel in channels])
        # Of each bet in the family's statistic; bets that only fill up a row weigh nothing, and have no evidence.
        self.weights = np.zeros((len(channels), self.widest))
        self._lay(bets)
        self.quiet = (QUIET,) * len(channels)
        self.cap = np.full(self.weights.shape, 1.0)
        placed = self.weights > 0
        self.cap[placed] = _CAP * threshold / self.weights[placed]
        self.flat = self.weights.ravel()

    def _lay(self, bets: Sequence[Floats]) -> None:
        """One table of all channels: a row of e-values for each symbol, and what R gains before the bet. Row 0: nothing
        was seen. What each channel needs of a study is laid out by kind, since a study goes through all of it."""
        rows: list[Floats] = [np.ones((1, self.widest))]
        gains: list[Floats] = [np.zeros(1)]
        self.ranked: list[tuple[int, str, int, Callable[[Any, float], int]]] = []
        self.sorted: list[tuple[int, str, int, Mapping[str, int], int]] = []
        self.asked: list[tuple[int, str, int, Callable[[Any, float], int]]] = []
        self.direct: list[tuple[int, str, int, Probability | Labelled | Vector]] = []
        at = 1
        for index, (channel, of_bets) in enumerate(zip(self.channels, bets, strict=True)):
            self.weights[index, : len(of_bets)] = self.shares[index] * of_bets
            if isinstance(channel, Number | Category | Event | Concordance):
                filled = np.zeros((len(channel.bets.table), self.widest))
                filled[:, : len(of_bets)] = channel.bets.table
            else:
                filled = np.zeros((1, self.widest))  # its e-values come from a formula
            rows.append(filled)
            gains.append(np.full(len(filled), 1 / rate_of(channel)))
            if isinstance(channel, Number):
                self.ranked.append((index, channel.name, at, channel.symbol))
            elif isinstance(channel, Category):
                self.sorted.append((index, channel.name, at, channel.codes, len(channel.codes)))
            elif isinstance(channel, Event | Concordance):
                self.asked.append((index, channel.name, at, channel.symbol))
            else:
                self.direct.append((index, channel.name, at, channel))
            at += len(filled)
        self.table, self.gains = np.concatenate(rows), np.concatenate(gains)

    def start(self) -> State:
        """Before the first study, or after a new baseline."""
        vectors = [one for one in self.channels if isinstance(one, Vector)]
        learnt = {one.name: embedding.Learnt.nothing(one.normal.parts) for one in vectors}
        return State(0, np.zeros(self.weights.shape), self.quiet, learnt)


class State(NamedTuple):
    """`studies`: how many so far; `evidence`: (channels, bets), R; `levels`: of channels; `learnt`: by the vectors."""

    studies: int
    evidence: Floats
    levels: tuple[str, ...]
    learnt: Mapping[str, embedding.Learnt]

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats keep every bit."""
        return {
            "studies": self.studies,
            "evidence": self.evidence.tolist(),
            "levels": list(self.levels),
            "learnt": {name: one.to_json() for name, one in self.learnt.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> State:
        """What `to_json` gave."""
        learnt = {name: embedding.Learnt.from_json(one) for name, one in data["learnt"].items()}
        return cls(int(data["studies"]), np.array(data["evidence"]), tuple(data["levels"]), learnt)


class Change(NamedTuple):
    """A channel went from one level to another. `standing`: its part of the statistic, to be held against the
    threshold; `alone`: it reached the threshold by itself, not only with others."""

    channel: str
    before: str
    after: str
    standing: float
    alone: bool = True


class Reading(NamedTuple):
    """After one study. `statistic`: of all channels without an open alarm; `new`: categories that the baseline has
    never seen."""

    statistic: float
    changes: tuple[Change, ...]
    new: tuple[tuple[str, str], ...]


def standing(family: Family, state: State) -> Floats:
    """Each channel's part of the statistic; the threshold holds for their sum."""
    return detector.average(state.evidence, family.weights)


def ratios(family: Family, state: State) -> dict[str, float]:
    """Each channel's part of the statistic by the threshold, to six digits: 1 is an alarm."""
    parts = (standing(family, state) / family.threshold).tolist()
    return {name: float(f"{part:.6g}") for name, part in zip(family.names, parts, strict=True)}


def step(family: Family, state: State, seen: Mapping[str, Any]) -> tuple[State, Reading]:
    """One study. `seen`: channel -> value; None is missing; a channel that is not named had nothing to observe."""
    tie, get = draw(family.seed, state.studies), seen.get
    rows = [0] * len(family.channels)
    new: list[tuple[str, str]] = []
    for index, name, at, symbol in family.ranked:
        value = get(name, seen)  # `seen` itself stands for: not named
        if value is not seen:
            rows[index] = at + symbol(value, tie)
    for index, name, at, codes, unseen in family.sorted:
        value = get(name, seen)
        if value is not seen:
            code = codes.get(category_of(value), unseen)
            if code == unseen:
                new.append((name, str(value)))
            rows[index] = at + code
    for index, name, at, symbol in family.asked:
        value = get(name)
        if value is not None:
            rows[index] = at + symbol(value, tie)
    learnt = state.learnt
    placed: list[tuple[int, Floats | list[float]]] = []
    for index, name, at, channel in family.direct:
        value = get(name)
        if value is None:
            continue
        rows[index] = at
        if isinstance(channel, Vector):
            after, e = embedding.bet(learnt[name], np.array(value, dtype=float), channel.normal)
            learnt = {**learnt, name: after}
            placed.append((index, e))
        else:
            placed.append((index, channel.e(value)))
    chosen = np.array(rows)
    taken = family.table.take(chosen, axis=0)
    for index, e_values in placed:
        taken[index, : len(e_values)] = e_values
    evidence = detector.grow(state.evidence, taken, family.gains.take(chosen)[:, None])
    total = float(evidence.ravel().dot(family.flat))
    studies = state.studies + 1
    if total < _WATCH * family.threshold and state.levels == family.quiet:
        # No bet is near its cap, which is at ten times the threshold by itself.
        return State(studies, evidence, state.levels, learnt), Reading(total, (), tuple(new))
    evidence = np.minimum(evidence, family.cap)
    levels, changes, statistic = _levels(family, state.levels, detector.average(evidence, family.weights))
    return State(studies, evidence, levels, learnt), Reading(statistic, changes, tuple(new))


def _levels(
    family: Family, before: tuple[str, ...], standing: Floats
) -> tuple[tuple[str, ...], tuple[Change, ...], float]:
    """Levels after this study: watch from h/10, alarm from h, and back only below h/100."""
    h = family.threshold
    values = standing.tolist()
    closed = [index for index, level in enumerate(before) if level != ALARM]
    statistic = float(sum(values[index] for index in closed))
    after = list(before)
    for index, value in enumerate(values):
        if value < _CLEAR * h:
            after[index] = QUIET
        elif value >= h or before[index] == ALARM:
            after[index] = ALARM
        elif value >= _WATCH * h:
            after[index] = WATCH
    leading = None
    if statistic >= h and all(values[index] < h for index in closed):
        leading = max(closed, key=lambda index: values[index])  # no one alone, all together
        after[leading] = ALARM
    changes = tuple(
        Change(name, old, now, values[index], alone=index != leading)
        for index, (name, old, now) in enumerate(zip(family.names, before, after, strict=True))
        if old != now
    )
    return tuple(after), changes, statistic


def replay(family: Family, state: State, studies: Iterable[Mapping[str, Any]]) -> tuple[State, list[Change]]:
    """Every study of the log in its order: the state that live watching has, and every change of level."""
    changes: list[Change] = []
    for seen in studies:
        state, reading = step(family, state, seen)
        changes += reading.changes
    return state, changes


def clear(family: Family, state: State, channel: str) -> State:
    """A person closed the alarm of this channel: its evidence begins anew. KeyError: no such channel."""
    if channel not in family.names:
        raise KeyError(channel)
    index = family.names.index(channel)
    evidence = state.evidence.copy()
    evidence[index] = 0.0
    levels = tuple(QUIET if one == index else level for one, level in enumerate(state.levels))
    return state._replace(evidence=evidence, levels=levels)
