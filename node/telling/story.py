"""One study's story as plain data: who sent it, why it was complete, which rules matched, what ran, what came out,
where it went, what was answered, and what people said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from node.audit import Event
from node.telling.sentences import sentence

Story = dict[str, Any]


def tell(study_uid: str, events: Sequence[Event], association: Callable[[int, int], Sequence[Event]]) -> Story:
    """The story in `events`, those about the study, oldest first. `association`: the events of one, by its number and
    that of an event that came in it."""
    jobs = _jobs(events)
    return {
        "study": study_uid,
        "events": len(events),
        "from": events[0].at if events else None,
        "until": events[-1].at if events else None,
        "hash": events[-1].hash if events else None,  # of the last event that went into it
        "patients": sorted({digest for one in events for digest in one.body.get("patients", ())}),
        "received": _received(events, association),
        "revisions": _revisions(events),
        "jobs": jobs,
        "deliveries": _deliveries(events),
        "afterwards": [_plain(one) for one in events if not one.type.startswith(_TOLD)],
        "timeline": [_plain(one) for one in _grouped(events)],
    }


_TOLD = ("instance.", "study.closed", "study.reopened", "job.", "delivery.", "commitment.")


def _plain(event: Event) -> dict[str, Any]:
    return {"seq": event.seq, "at": event.at, "type": event.type, "actor": event.actor, "says": sentence(event),
            "body": dict(event.body)}  # fmt: skip


def _grouped(events: Sequence[Event]) -> list[Event]:
    """The events, of instances that came one after another in one association only the first, with how many."""
    shown: list[Event] = []
    for one in events:
        last = shown[-1] if shown else None
        same = last is not None and one.type == last.type == "instance.received" and (
            one.body.get("association") == last.body.get("association")
        )  # fmt: skip
        if same and last is not None:
            body = {**last.body, "count": last.body.get("count", 1) + 1, "last": one.seq}
            shown[-1] = Event(last.seq, last.at, last.type, last.actor, last.object, body, last.prev_hash, last.hash)
        else:
            shown.append(one)
    return shown


def _received(events: Sequence[Event], association: Callable[[int, int], Sequence[Event]]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for one in events:
        if not one.type.startswith("instance.") or one.body.get("association") is None:
            continue
        key = int(one.body["association"])
        came = found.setdefault(key, {
            "association": key, "peer": one.body.get("peer"), "first": one.at, "counts": Counter(), "series": set(),
            "bytes": 0, "seq": one.seq,
        })  # fmt: skip
        came["last"] = one.at
        came["counts"][one.type.removeprefix("instance.")] += 1
        came["series"].add(one.body.get("series_uid"))
        came["bytes"] += int(one.body.get("size", 0))
    for key, came in found.items():
        came["series"], came["counts"] = len(came["series"]), dict(came["counts"])
        for one in association(key, came.pop("seq")):
            if one.type == "association.opened":
                names = ("calling_ae", "called_ae", "address", "certificate")
                came |= {name: one.body[name] for name in names if name in one.body} | {"opened": one.at}
            else:
                came |= {"ended": one.at, "how": one.body.get("how")}
        found[key] = came
    return list(found.values())


def _revisions(events: Sequence[Event]) -> list[dict[str, Any]]:
    found = []
    for one in events:
        if one.type == "study.closed":
            found.append({"at": one.at, "opened_again_because": None, **one.body})
    reopened = {one.body["revision"]: one.body["reason"] for one in events if one.type == "study.reopened"}
    for revision in found:
        revision["opened_again_because"] = reopened.get(revision["revision"])
    return found


def _jobs(events: Sequence[Event]) -> list[dict[str, Any]]:
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for one in events:
        if not one.type.startswith("job.") or "pipeline" not in one.body:
            continue
        key = str(one.body["pipeline"]), int(one.body["revision"])
        job = found.setdefault(key, {"pipeline": key[0], "revision": key[1], "outcome": "due", "attempts": []})
        word = one.type.removeprefix("job.")
        if word == "created":
            job |= {name: one.body.get(name) for name in ("routes", "peers", "priority")} | {"created": one.at}
        elif word == "claimed":
            job["attempts"].append({"at": one.at, "worker": one.body.get("worker")})
            job["outcome"] = "running"
        else:
            job |= {**_without(one.body, ("pipeline", "revision", "attempt")), "ended": one.at}
            job["outcome"] = "due" if word == "retried" else word
            if job["attempts"]:
                job["attempts"][-1] |= {"outcome": word, "reason": one.body.get("reason"), "ended": one.at}
    return list(found.values())


def _deliveries(events: Sequence[Event]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in events:
        if not one.type.startswith("delivery."):
            continue
        body, word = one.body, one.type.removeprefix("delivery.")
        sent = next((before for before in reversed(found) if _is_of(before, body)), None)
        # The claims in logs of earlier versions do not say of which pipeline and revision they are.
        unnamed = word == "claimed" and "pipeline" not in body and body.get("attempt") == 1
        if sent is None or (unnamed and sent["attempts"]):
            sent = {"output": body.get("output"), "peer": body.get("peer"), "attempts": 0, "answers": Counter()}
            found.append(sent)
        sent |= {name: body[name] for name in ("pipeline", "revision") if name in body}
        sent["attempts"] += word == "claimed"
        sent["answers"].update(_answer(answer) for answer in body.get("answers", ()))
        sent["state"], sent["at"] = word, one.at
        sent.pop("reason", None)  # that of the state before
        for name in ("reason", "already_there", "transaction_uid", "by"):
            if name in body:
                sent[name] = body[name]
    return [{**one, "answers": dict(one["answers"])} for one in found]


def _is_of(sent: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether an event is of that delivery, as far as both say which one it is."""
    return sent["output"] == body.get("output") and sent["peer"] == body.get("peer") and all(
        name not in sent or name not in body or sent[name] == body[name] for name in ("pipeline", "revision")
    )  # fmt: skip


def _answer(answer: Mapping[str, Any]) -> str:
    status = answer.get("status")
    return "no answer" if status is None else f"0x{status:04X}"


def _without(body: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in names}
