"""Which channel a feature becomes: by its prefix, and by what the baseline holds. No pipeline is named here.

The groups and weights are those of MONITORING's table of channels; a new feature with a known prefix is watched once
a baseline knows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from node.watch import channels
from node.watch.baseline import Baseline
from node.watch.channels import Category, Channel, Concordance, Event, Number, Probability

MODEL, SERVICE = "model", "service"  # the parts of a family, each with its own budget of false alarms
DEVICE = "device."
EMBEDDING, DISTANCE = "embedding", "embedding.distance"
LABELLED, CONCORDANCE, REVIEW = "labelled.", "concordance.", "review."  # what labels and reviews observe
_OF_GROUP = re.compile(r"^[a-z-]+\..+\.(?=(labelled|concordance|review)\.)")  # sex.F.labelled.nodule
_BAND = 0.4  # the dead band of what changes with the mix of studies
_GROUP = 200  # studies of the baseline that a subgroup needs
_MOST_SUBGROUPS = 24  # channels
_YES_OR_NO = (".suitable", ".inverted", ".positive", ".empty", ".failed")  # others that were always 1 are counts
_MOST_CATEGORIES = 60  # more different texts than this are identifiers, not categories


@dataclass(frozen=True)
class Rule:
    """What a prefix says. `group`: number in the table of channels; `band`: the dead band, relative."""

    prefix: str
    group: int
    weight: float
    part: str = MODEL
    band: float = 0.0


RULES = (
    Rule("completeness.", 1, 2.0),
    Rule(DEVICE, 2, 2.0),
    Rule("acquisition.", 3, 1.0),
    Rule("pixels.", 4, 1.0),
    Rule(EMBEDDING, 5, 1.0),
    Rule("output.", 7, 1.0, band=_BAND),
    Rule("uncertainty.", 8, 1.0),
    Rule("service.", 9, 1.0, part=SERVICE),
    Rule(CONCORDANCE, 10, 2.0),
    Rule(REVIEW, 10, 2.0),
    Rule(LABELLED, 11, 3.0),
)
WORDS = {
    1: "completeness", 2: "device", 3: "acquisition", 4: "pixels", 5: "embedding", 6: "embedding's tail", 7: "outputs",
    8: "uncertainty", 9: "service", 10: "concordance", 11: "calibration", 12: "subgroup",
}  # fmt: skip


def rule_of(name: str) -> Rule | None:
    """The rule for a feature, None where no channel watches it."""
    found = next((rule for rule in RULES if name[_prefix(name) :].startswith(rule.prefix)), None)
    return replace(found, group=12) if found and _prefix(name) else found


def _prefix(name: str) -> int:
    """How long the name of a subgroup is that stands before what labels and reviews observe."""
    found = _OF_GROUP.match(name)
    return found.end() if found else 0


def group_of(channel: str) -> int:
    """The number of a channel in the table: 12 for subgroups, 6 for the tail of the embedding."""
    if "@" in channel:
        return 12
    if channel == DISTANCE:
        return 6
    rule = rule_of(channel)
    return rule.group if rule else 0


def make(baseline: Baseline) -> tuple[dict[str, list[Channel]], dict[str, str]]:
    """The channels of each part, and for each feature that is not watched the reason."""
    made: dict[str, list[Channel]] = {MODEL: [], SERVICE: []}
    left: dict[str, str] = {}
    shared: list[Channel] = []
    for name in sorted(baseline.columns):
        rule = rule_of(name)
        if rule is None:
            continue
        known = baseline.known(name)
        if not known:
            left[name] = "the baseline has no value of it"
        elif isinstance(known[0], list | tuple) and name != EMBEDDING:
            (shared if rule.group == 12 else made[rule.part]).extend(_labelled(baseline, name, known, rule))
        else:
            found = _channels(baseline, name, known, rule)
            (shared if rule.group == 12 else made[rule.part]).extend(found)
            if not found:
                left[name] = f"{len(set(map(str, known)))} different texts: it names studies, and does not sort them"
    shared = (shared + _subgroups(baseline))[:_MOST_SUBGROUPS]
    made[MODEL] += [replace(one, weight=1.0 / len(shared)) for one in shared]
    return made, left


def _channels(baseline: Baseline, name: str, known: list[Any], rule: Rule) -> list[Channel]:
    if name == EMBEDDING:
        return [channels.vector(baseline, name, rule.weight)]
    if any(isinstance(value, str) for value in known):
        if len(set(map(str, known))) > min(_MOST_CATEGORIES, max(2, len(known) // 5)):
            return []
        return [channels.category(baseline, name, max(rule.weight, 2.0), rule.band)]
    if name == DISTANCE:
        return [channels.number(baseline, name, rule.weight, tail=True)]
    if set(known) <= {0.0, 1.0} and not name.endswith(".p") and (0.0 in known or name.endswith(_YES_OR_NO)):
        usual = sum(known) / len(known) > 0.5  # what is usual can only become rarer
        return [channels.event(baseline, name, rule.weight, rule.band, up=0.2 if usual else 0.8)]
    found: list[Channel] = [channels.number(baseline, name, rule.weight)]
    if name.startswith("output.") and name.endswith(".p") and _is_probability(known):
        shared = channels.probability(baseline, name, rule.weight, rule.band)
        found.append(replace(shared, name=prevalence_name(name)))
    return found


def prevalence_name(p: str) -> str:
    """The channel that watches the share of a finding, from the feature of its probability."""
    return f"{p.removesuffix('.p')}.prevalence"


def stored_of(labelled: str, baseline: Baseline) -> str | None:
    """The feature that holds the probabilities of a finding; labels name it in small letters."""
    wanted = f"output.{labelled[_prefix(labelled) :].removeprefix(LABELLED)}.p".lower()
    return next((name for name in sorted(baseline.columns) if name.lower() == wanted), None)


def _is_probability(known: list[Any]) -> bool:
    mean = sum(known) / max(len(known), 1)
    return bool(known) and min(known) >= 0 and max(known) <= 1 and 0.002 < mean < 0.6


def _labelled(baseline: Baseline, name: str, known: list[Any], rule: Rule) -> list[Channel]:
    """Labels and reports of the baseline's time, each a pair: (p, label), or (model positive, reported positive)."""
    rate = len(known) / len(baseline.days)
    bare = name[_prefix(name) :]
    if bare.startswith(LABELLED):
        stored = stored_of(bare, baseline)
        if stored is None or not _is_probability(baseline.known(stored)):
            return []
        return [channels.labelled(baseline, name, stored, rule.weight, float(len(known)), rate)]
    said = [(bool(one[0]), bool(one[1])) for one in known]
    negative, positive = sum(not y for _, y in said), sum(y for _, y in said)
    if not negative or not positive:
        return []
    false, missed = said.count((True, False)), said.count((False, True))
    if false == negative or missed == positive:  # the model never agreed: nothing can become worse
        return []
    return [channels.concordance(name, (false, negative), (missed, positive), rule.weight, rate)]


# -- subgroups: the outputs again, for those of one sex, age band or device -------------------------------------------


def groups_of(columns: Mapping[str, Any]) -> list[str]:
    """The features by which studies are told apart."""
    devices = sorted(name for name in columns if name.startswith(DEVICE))
    models = [name for name in devices if "model" in name.lower()]
    return [name for name in ("patient.sex", "patient.age-band") if name in columns] + (models or devices)[:1]


def _subgroups(baseline: Baseline) -> list[Channel]:
    found: list[Channel] = []
    outputs = [
        name for name in sorted(baseline.columns)
        if name.startswith("output.") and name.endswith((".p", ".positive", ".empty"))
    ]  # fmt: skip
    for by in groups_of(baseline.columns):
        column = baseline.columns[by]
        for value in sorted({str(one) for one in column if one is not None}):
            rows = [row for row, one in enumerate(column) if one is not None and str(one) == value]
            if len(rows) < _GROUP or len(rows) == len(column):
                continue
            part = Baseline(
                baseline.version, tuple(baseline.days[row] for row in rows),
                {name: tuple(baseline.columns[name][row] for row in rows) for name in outputs},
            )  # fmt: skip
            for name in outputs:
                if part.known(name):
                    found += [_of_group(one, by, value, len(rows) / len(column))
                              for one in _channels(part, name, part.known(name), Rule("output.", 12, 1.0, band=_BAND))
                              if isinstance(one, Event | Probability)]  # fmt: skip
    return found


def _of_group(channel: Event | Probability, by: str, value: str, share: float) -> Channel:
    name = f"{channel.name}@{by}={value}"
    if isinstance(channel, Event):
        return replace(channel, name=name, rate=channel.rate * share)
    return replace(channel, name=name)


def followers(names: Iterable[str]) -> list[tuple[str, str, str | None, str]]:
    """Of the channels `names` those that follow from another feature, prevalence and subgroups: (channel, feature, by,
    value); of a subgroup only where the feature `by` has that value."""
    found: list[tuple[str, str, str | None, str]] = []
    for name in names:
        base, _, group = name.partition("@")
        feature = f"{base.removesuffix('.prevalence')}.p" if base.endswith(".prevalence") else base
        by, _, value = group.partition("=")
        if feature != name:
            found.append((name, feature, by or None, value))
    return found


def kind_of(channel: Channel) -> str:
    """What a channel is, in a word for people."""
    names = {Number: "number", Category: "category", Event: "yes or no", Concordance: "model against report"}
    return next((word for kind, word in names.items() if isinstance(channel, kind)), type(channel).__name__.lower())
