"""One sentence for each event, in plain words; of a type that has none of its own, its meaning and its body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


_SAYS: Mapping[str, Callable[[Body], str]] = {
    "instance.received": _instances,
    "study.closed": _closed,
    "study.reopened": lambda body: f"revision {body.get('revision')} begins: {body.get('reason')}",
    "study.purged": lambda body: f"its {body.get('instances')} files are deleted: {body.get('reason')}",
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
    "delivery.committed": lambda body: f"{body.get('peer')} keeps {body.get('output')}",
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
