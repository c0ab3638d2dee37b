"""Events in words: of each kind that a person meets, its own sentence instead of its body."""

from __future__ import annotations

from typing import Any

import pytest

from node import audit
from node.telling.sentences import sentence

ALARM = {"alarm": 3, "family": "cxr-triage|net 1.0 dd|main", "channel": "pixels.mean"}
SIGNED = {"by": "Dr A", "why": "new detector"}


def say(type_: str, body: dict[str, Any]) -> str:
    return sentence(audit.Event(7, "2026-11-22T02:00:00+00:00", type_, "watch", "study/1.2.3", body, "0" * 64, "1" * 64))


@pytest.mark.parametrize(("type_", "body", "says"), [
    ("alarm.opened", ALARM | {"kind": "drift", "says": "darker images"}, "alarm 3 of pixels.mean is raised: darker images"),
    ("alarm.acknowledged", ALARM | SIGNED, "alarm 3 of pixels.mean is acknowledged by Dr A: new detector"),
    ("alarm.resolved", ALARM | SIGNED | {"resolution": "accepted-change"},
     "alarm 3 of pixels.mean is resolved as accepted-change by Dr A: new detector"),
    ("alarm.muted", ALARM | SIGNED | {"until": 1_800_000_000.0},
     "alarm 3 of pixels.mean is muted by Dr A until 2027-01-15 08:00: new detector"),
    ("alarm.escalated", ALARM | {"times": 1, "hours": 24.0},
     "alarm 3 of pixels.mean is told again: nobody has acknowledged it for 24.0 hours"),
    ("alarm.cleared", ALARM | {"why": "baseline 2 was accepted", "was": "open"},
     "alarm 3 of pixels.mean is over: baseline 2 was accepted"),
    ("alarm.stopped", ALARM | {"policy": "review", "routes": ["chest"], "held": ["chest"]},
     "alarm 3 of pixels.mean calls the stop-rule, policy review: held chest"),
    ("route.mode", {"mode": "review", "before": "live", "by": "watch", "why": "alarm 3", "held": 2},
     "the route is set to review, was live, by watch: alarm 3; 2 deliveries are held now"),
    ("model.promoted", {"version": "1.1.0", "replaced": "1.0.0", **SIGNED},
     "version 1.1.0 is live, was 1.0.0, by Dr A: new detector"),
    ("label.added", {"finding": "nodule", "value": False, "source": "ris", "first": False, "before": True},
     "ris says that nodule is not there; before, it said that it is; not the first label of this finding"),
    ("document.read", {"sop_uid": "1.2", "labels": 2, "reviews": 0}, "a received document was read: 2 labels, 0 reviews"),
    ("document.read", {"labels": 0, "reviews": 0, "reason": "no code"}, "a received document could not be read: no code"),
    ("golden.mismatch", {"model": {"name": "net", "version": "1.0"}, "moved_in_all": 3,
                         "moved": [{"name": "output.nodule.p", "before": 0.4, "now": 0.9}]},
     "the golden set of net 1.0 did not give what is on record: output.nodule.p from 0.4 to 0.9 and 2 more"),
    ("golden.mismatch", {"reason": "the model process died"},
     "the golden set did not give what is on record: the model process died"),
    ("loop.started", {"ended_before": 2}, "the process is ready; it ended 2 times before"),
    ("web.refused", {"address": "10.0.0.1", "path": "/metrics", "why": "no token", "count": 4},
     "refused 4 requests from 10.0.0.1 for /metrics: no token"),
    ("baseline.accepted", {"baseline": 2, **SIGNED}, "baseline 2 is accepted by Dr A: new detector"),
])  # fmt: skip
def test_an_event_is_told_in_words(type_: str, body: dict[str, Any], says: str) -> None:
    assert type_ in audit.TYPES
    assert say(type_, body) == says


@pytest.mark.parametrize("type_", audit.TYPES)
def test_every_type_has_a_sentence_even_where_its_body_says_less_than_today(type_: str) -> None:
    assert say(type_, {})
