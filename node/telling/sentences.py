"""One sentence for each event, in plain words; of a type that has none of its own, its meaning and its body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from node.audit import TYPES, Event

Body = Mapping[str, Any]
_LONGEST = 400  # characters of a body that is shown as it is


def _instances(body: Body) -> str:
    count = body.get("count", 1)
    ours = ": a result of ours that came back" if body.get("ours") else ""
    return f"{count} instance{'s' if count > 1 else ''} from {body.get('peer')}, stored and acknowledged{ours}"


def _closed(body: Body) -> str:
    said = f"revision {body.get('revision')} is complete: {body.get('reason')}"
    if "instances" in body:
        said += f"; {body['instances']} instances, {body.get('series', '?')} series"
    return said + (f"; {body['refused']}" if "refused" in body else "")


def _done(body: Body) -> str:
    model = body.get("model", {})
    return (
        f"{body.get('pipeline')} is done, with {model.get('name', 'a model')} {model.get('version', '')}: "
        f"{_short(body.get('findings', {}))}"
    )


def _job(verb: str) -> Callable[[Body], str]:
    return lambda body: f"{body.get('pipeline')} {verb}: {body.get('reason')}"


def _delivered(body: Body) -> str:
    return f"{body.get('output')} is stored at {body.get('peer')}: {len(body.get('answers', ()))} instances"


def _delivery(verb: str) -> Callable[[Body], str]:
    return lambda body: f"{body.get('output')} to {body.get('peer')} {verb}: {body.get('reason')}"


def _review(body: Body) -> str:
    outcome = {"released": "what was held of it goes out", "withdrawn": "what was not sent of it is withdrawn"}
    after = outcome.get(str(body.get("outcome")), "")
    said = f"{body.get('by')} {body.get('verdict')} {body.get('output')} of {body.get('pipeline')}"
    said += f" (by {body['source']})" if body.get("source") else ""
    return f"{said}: {body.get('why')}" + (f"; {after}" if after else "")


def _label(body: Body) -> str:
    there = "is there" if body.get("value") else "is not there"
    said = f"{body.get('source')} says that {body.get('finding')} {there}"
    if "before" in body:
        said += "; before, it said that it is" + ("" if body["before"] else " not")
    return said + ("" if body.get("first") else "; not the first label of this finding")


def _document(body: Body) -> str:
    if "reason" in body:
        return f"a received document could not be read: {body['reason']}"
    return f"a received document was read: {body.get('labels', 0)} labels, {body.get('reviews', 0)} reviews"


def _golden(says: str) -> Callable[[Body], str]:
    def told(body: Body) -> str:
        model = body.get("model", {})
        of = f"the golden set of {model.get('name')} {model.get('version')} " if model else "the golden set "
        moved = [f"{one.get('name')} from {_flat(one.get('before'))} to {_flat(one.get('now'))}"
                 for one in body.get("moved", ())]  # fmt: skip
        said = of + says
        if moved:
            more = int(body.get("moved_in_all", len(moved))) - len(moved)
            said += f": {', '.join(moved)}" + (f" and {more} more" if more > 0 else "")
        return said + (f": {body['reason']}" if "reason" in body else "")

    return told


def _alarm(says: Callable[[Body], str]) -> Callable[[Body], str]:
    return lambda body: f"alarm {body.get('alarm')} of {body.get('channel')} {says(body)}"


def _by(verb: str) -> Callable[[Body], str]:
    return lambda body: f"{verb} {body.get('by')}: {body.get('why')}"


def _mode(body: Body) -> str:
    before = f", was {body['before']}" if body.get("before") else ""
    held = f"; {body['held']} deliveries are held now" if body.get("held") else ""
    return f"the route is set to {body.get('mode')}{before}, by {body.get('by')}: {body.get('why')}{held}"


def _restored(body: Body) -> str:
    lost = f"up to {body.get('lost_at_most')} events after event {body.get('after')} are lost"
    heads = f"{body.get('lost_heads')} signed heads, digest {body.get('digest')}"
    return f"{body.get('by')} restored the database from a back-up: {lost}, under {heads}: {body.get('why')}"


def _stopped(body: Body) -> str:
    held = ", ".join(body.get("held", ()))
    return f"calls the stop-rule, policy {body.get('policy')}: " + (f"held {held}" if held else "nothing is held")


def _until(body: Body) -> str:
    end = datetime.fromtimestamp(float(body["until"]), UTC) if "until" in body else None
    return f"is muted by {body.get('by')}" + (f" until {end:%Y-%m-%d %H:%M}" if end else "") + f": {body.get('why')}"


_SAYS: Mapping[str, Callable[[Body], str]] = {
    "loop.started": lambda body: "the process is ready" + (
        f"; it ended {body['ended_before']} times before" if body.get("ended_before") else ""
    ),
    "loop.ended": lambda body: f"the process ended: {body.get('reason')}; it is started again",
    "instance.received": _instances,
    "instance.changed": lambda body: f"an instance came from {body.get('peer')} again with other bytes: these count",
    "instance.repeated": lambda body: f"an instance came again from {body.get('peer')} with the same bytes",
    "study.closed": _closed,
    "study.reopened": lambda body: f"revision {body.get('revision')} begins: {body.get('reason')}",
    "study.purged": lambda body: f"its {body.get('instances')} files are deleted: {body.get('reason')}",
    "results.purged": lambda body: f"{body.get('instances')} files of results are deleted: {body.get('reason')}",
    "job.created": lambda body: f"{body.get('pipeline')} is to run, by {', '.join(body.get('routes', ()))}",
    "job.claimed": lambda body: f"{body.get('pipeline')} begins, attempt {body.get('attempt')} ({body.get('worker')})",
    "job.done": _done,
    "job.skipped": _job("does not take it"),
    "job.retried": _job("will be tried again"),
    "job.failed": _job("failed"),
    "delivery.claimed": lambda body: f"{body.get('output')} goes to {body.get('peer')}, {body.get('instances')} files",
    "delivery.delivered": _delivered,
    "delivery.retried": _delivery("will be tried again"),
    "delivery.failed": _delivery("failed"),
    "delivery.withdrawn": _delivery("is not sent"),
    "delivery.held": _delivery("is held"),
    "delivery.released": lambda body: f"{body.get('output')} to {body.get('peer')} is released by {body.get('by')}",
    "delivery.asked": lambda body: f"{body.get('peer')} is asked whether it keeps {body.get('output')}",
    "delivery.committed": lambda body: f"{body.get('peer')} keeps {body.get('output')}",
    "review.given": _review,
    "label.added": _label,
    "label.withdrawn": lambda body: f"{body.get('source')} withdraws what it said of {body.get('finding')}",
    "document.read": _document,
    "message.refused": lambda body: (
        f"refused {body.get('count', 1)} times from {body.get('address')}: {body.get('reason')}"
    ),
    "route.mode": _mode,
    "model.promoted": lambda body: (
        _by(f"version {body.get('version')} is live, was {body.get('replaced')}, by")(body)
    ),
    "model.installed": lambda body: f"{body.get('name')} {body.get('version')} is on the shelf",
    "model.retired": lambda body: f"{body.get('name')} {body.get('version')} is no longer on the shelf",
    "golden.recorded": _golden("is on record"),
    "golden.accepted": _golden("was accepted as the record"),
    "golden.passed": _golden("gave what is on record"),
    "golden.mismatch": _golden("did not give what is on record"),
    "audit.restored": _restored,
    "notice": lambda body: str(body.get("says") or f"{body.get('channel')}: {body.get('what')}"),
    "alarm.opened": _alarm(lambda body: f"is raised: {body.get('says')}"),
    "alarm.acknowledged": _alarm(_by("is acknowledged by")),
    "alarm.resolved": _alarm(lambda body: _by(f"is resolved as {body.get('resolution')} by")(body)),
    "alarm.muted": _alarm(_until),
    "alarm.escalated": _alarm(lambda body: f"is told again: nobody has acknowledged it for {body.get('hours')} hours"),
    "alarm.cleared": _alarm(lambda body: f"is over: {body.get('why')}"),
    "alarm.stopped": _alarm(_stopped),
    "baseline.proposed": lambda body: f"baseline {body.get('baseline')} is proposed, of {body.get('studies')} studies",
    "baseline.accepted": lambda body: _by(f"baseline {body.get('baseline')} is accepted by")(body),
    "baseline.grown": lambda body: f"baseline {body.get('baseline')} has grown to version {body.get('version')}",
    "web.refused": lambda body: (
        f"refused {body.get('count', 1)} requests from {body.get('address')} for {body.get('path')}: {body.get('why')}"
    ),
}  # fmt: skip


def sentence(event: Event) -> str:
    """What an event says, for a person."""
    if event.type in _SAYS:
        return _SAYS[event.type](event.body)
    meaning = TYPES.get(event.type, event.type).partition("; body:")[0]
    body = _short(event.body)
    return f"{meaning} ({body})" if body else meaning


def _short(value: Any) -> str:
    """A body or a part of it in one line."""
    text = _flat(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(_flat(one) for one in value)}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
