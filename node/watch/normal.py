"""An accepted baseline with all that follows from it: whitening, channels, the threshold of each part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from node.watch import kinds
from node.watch.baseline import Baseline, build
from node.watch.channels import Number, Probability
from node.watch.embedding import Whitening, whitening
from node.watch.family import Family, State
from node.watch.observe import PATIENT
from node.watch.ranks import is_missing

_PARTS = 16  # of the embedding
_FEWEST_VECTORS = 50


class Normal:
    """What is normal for one family. `key`: the baseline's row, which also seeds the draws that break ties."""

    def __init__(
        self, key: int, baseline: Baseline, white: Whitening | None, thresholds: Mapping[str, float],
        per_day: float,
    ) -> None:  # fmt: skip
        """`thresholds`: h of each part; `per_day`: studies a day. ValueError: nothing in it can be watched."""
        self.key, self.baseline, self.white = key, baseline, white
        self.thresholds, self.per_day = dict(thresholds), per_day
        made, self.left_out = kinds.make(baseline)
        if not made[kinds.MODEL]:
            raise ValueError("the baseline has no feature that can be watched")
        self.parts = {part: Family(found, thresholds[part], seed=key) for part, found in made.items() if found}
        every = [one for found in made.values() for one in found]
        self._numbers = tuple(one.name for one in every if isinstance(one, Number | Probability))
        self._follow = kinds.followers(one.name for one in every)
        self._known = frozenset(name for name in baseline.columns if baseline.known(name))

    def see(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all channels, from the features of one study, a label or a review."""
        seen = observed(raw, self.white)
        for name, feature, by, value in self._follow:
            if seen.get(feature) is not None and (by is None or (seen.get(by) is not None and str(seen[by]) == value)):
                seen[name] = seen[feature]
        for name in self._numbers:
            if isinstance(seen.get(name), str | list):  # it was a number once: as good as missing
                seen[name] = None
        return seen

    def news(self, raw: Mapping[str, Any]) -> list[tuple[str, str]]:
        """(feature, value) of what a device says of itself now and no study of the baseline had: no channel watches
        it."""
        fresh = [name for name in raw.keys() - self._known if name.startswith(kinds.DEVICE)]
        return [(name, str(raw[name])) for name in sorted(fresh) if not is_missing(raw[name])]

    def grown(self, baseline: Baseline) -> Normal:
        """The same with a baseline that has grown; the thresholds stay those that a person accepted."""
        return Normal(self.key, baseline, self.white, self.thresholds, self.per_day)

    def to_text(self) -> str:
        """Canonical JSON: what the digest that a person signs stands for."""
        return json.dumps(
            {"baseline": self.baseline.to_json(), "whitening": self.white.to_json() if self.white else None,
             "thresholds": self.thresholds, "per_day": self.per_day},
            sort_keys=True, separators=(",", ":"), allow_nan=False,
        )  # fmt: skip

    @classmethod
    def from_text(cls, key: int, text: str) -> Normal:
        """What `to_text` gave."""
        data = json.loads(text)
        white = Whitening.from_json(data["whitening"]) if data["whitening"] else None
        return cls(key, Baseline.from_json(data["baseline"]), white, data["thresholds"], float(data["per_day"]))


def digest(text: str) -> str:
    """SHA-256 of a baseline's content, hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def learn(version: int, days: Sequence[int], studies: Sequence[Mapping[str, Any]]) -> tuple[Baseline, Whitening | None]:
    """A baseline and its whitening from the features of studies, oldest first."""
    vectors = [one[kinds.EMBEDDING] for one in studies if isinstance(one.get(kinds.EMBEDDING), list)]
    white = None
    if len(vectors) >= _FEWEST_VECTORS and len({len(one) for one in vectors}) == 1:
        white = whitening(np.array(vectors, dtype=float), _PARTS)
        if not len(white.matrix):
            white = None
    return build(version, days, [observed(one, white) for one in studies]), white


def observed(raw: Mapping[str, Any], white: Whitening | None) -> dict[str, Any]:
    """The features with the embedding whitened, and its distance from the middle beside it; without what is no
    feature."""
    seen = {name: value for name, value in raw.items() if name not in (PATIENT, kinds.EMBEDDING)}
    vector = raw.get(kinds.EMBEDDING)
    if white is not None and kinds.EMBEDDING in raw:
        right = isinstance(vector, list) and len(vector) == len(white.mean)
        seen[kinds.EMBEDDING] = seen[kinds.DISTANCE] = None
        if right:
            z, distance = white.apply(np.array(vector, dtype=float))
            seen[kinds.EMBEDDING], seen[kinds.DISTANCE] = z.tolist(), float(distance)
    return seen


def carried(before: Family, after: Family, state: State) -> State:
    """The state of a family whose baseline has grown. Bets of a channel that are the same keep their evidence; where
    they are others, each gets the average of the old ones: the statistic stays, and with it the guarantee."""
    fresh = after.start()
    evidence = fresh.evidence.copy()
    levels = list(fresh.levels)
    at = {name: index for index, name in enumerate(before.names)}
    for index, name in enumerate(after.names):
        old = at.get(name)
        if old is None:
            continue
        levels[index] = state.levels[old]
        mine, theirs = after.weights[index], before.weights[old]
        count, had = int((mine > 0).sum()), int((theirs > 0).sum())
        same = count == had and np.allclose(mine / mine.sum(), theirs / theirs.sum(), rtol=1e-12, atol=0)
        if same:
            evidence[index, :count] = state.evidence[old, :count]
        else:
            evidence[index, :count] = float((state.evidence[old] * theirs).sum() / theirs.sum())
    learnt = {
        name: state.learnt[name]
        if name in state.learnt and len(state.learnt[name].means.T) == len(one.means.T)
        else one
        for name, one in fresh.learnt.items()
    }
    return State(state.studies, evidence, tuple(levels), learnt)
