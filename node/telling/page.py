"""A study's story as one HTML page that needs nothing else: no script, no other file, readable on paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from pydicom.uid import UID

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1c2430;background:#f4f5f7;margin:0}
main{max-width:62rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.35rem;margin:0 0 .2rem}h2{font-size:1.05rem;margin:0 0 .6rem}
section{background:#fff;border:1px solid #dfe3e8;border-radius:6px;padding:1rem 1.2rem;margin:0 0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;
border-bottom:1px solid #eceff2;overflow-wrap:anywhere}th{font-weight:600;color:#556070;white-space:nowrap}
.p th{width:11rem}
tr:last-child>*{border-bottom:0}td.n{white-space:nowrap}code{font:.86em ui-monospace,monospace;overflow-wrap:anywhere}
.t{white-space:nowrap}.w{display:inline-block;border-radius:3px;padding:0 .45em;background:#e3e8ee;white-space:nowrap}
.good{background:#d8f0de}.bad{background:#f8d7d5}.wait{background:#fdeecb}.dim{color:#667080}
h3{font-size:.95rem;margin:1rem 0 .3rem}h3:first-of-type{margin-top:0}
@media print{body{background:#fff}section{border:0;padding:0;break-inside:avoid-page}}
"""
_GOOD = {"done", "delivered", "committed", "ready", "0x0000", "matches"}
_BAD = {"failed", "withdrawn"}
_PARTS = {  # of what a job's event says, in this order
    "series_uid": "series", "input_digest": "digest of its instances", "acquisition": "device and acquisition",
    "model": "model", "findings": "findings", "record": "made with", "features": "digest of what is watched",
    "timings": "seconds",
}  # fmt: skip


def render(story: Mapping[str, Any]) -> str:
    """The whole page for what node.telling.story.tell gave."""
    parts = [
        _section("Who sent it", _received(story["received"])),
        _section("Why it was complete, and which rules matched", _revisions(story["revisions"])),
        *(_section(f"{job['pipeline']}, revision {job['revision']}", _job(job)) for job in story["jobs"]),
        _section("Where it went", _deliveries(story["deliveries"])),
    ]
    if story["afterwards"]:
        parts.append(_section("What came of it", _timeline(story["afterwards"])))
    parts.append(_section("All events", _timeline(story["timeline"])))
    patients = ", ".join(_code(one) for one in story["patients"]) or "not on record"
    about = (
        f"<p class=dim>From {story['events']} events of the audit log, {_time(story['from'])} to "
        f"{_time(story['until'])} (UTC); the last one has the hash {_code(story['hash'])}. "
        f"Patient: {patients} (a salted digest).</p>"
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>Study {escape(story['study'])}</title><style>{_STYLE}</style><main>"
        f"<h1>Study {_code(story['study'])}</h1>{about}{''.join(parts)}</main></html>\n"
    )


def _received(received: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in received:
        called = f"{escape(str(one.get('calling_ae', '?')))} at {escape(str(one.get('address', '?')))}"
        over = f"<br>certificate {escape(str(one['certificate']))}" if "certificate" in one else ""
        counts = ", ".join(f"{count} {escape(word)}" for word, count in one["counts"].items())
        ended = f"{escape(str(one.get('how', 'open')))} {_time(one.get('ended'))}"
        size = f"{one['series']} series, {one['bytes'] / 2**20:.1f} MiB"
        rows.append((escape(str(one["peer"])), called + over, f"{counts}<br>{size}", _time(one["first"]), ended))
    return _table(("peer", "called from", "instances", "first", "association"), rows, "No instance is on record.")


def _revisions(revisions: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for one in revisions:
        rows = [("closed", _time(one["at"])), ("because", escape(str(one.get("reason"))))]
        if one["opened_again_because"]:
            rows.append(("opened again because", escape(one["opened_again_because"])))
        if "instances" in one:
            rows.append(("held then", f"{one['instances']} instances, {one.get('series', '?')} series"))
        if "refused" in one:
            rows.append(("nothing runs", f"{_word('failed', 'no job')} {escape(str(one['refused']))}"))
        for route, answer in one.get("routes", {}).items():
            matches, _, more = str(answer).partition("matches")  # it may go on: under which mode, or that it is off
            shown = f"{_word('no', 'no')} {escape(str(answer))}" if matches else f"{_word('matches')}{escape(more)}"
            rows.append((f"route {escape(route)}", shown))
        parts.append(f"<h3>Revision {one.get('revision')}</h3>{_pairs(rows)}")
    return "".join(parts) or "<p>It is still being received.</p>"


def _job(job: Mapping[str, Any]) -> str:
    rows = [("outcome", _word(job["outcome"]) + (f" {escape(str(job['reason']))}" if job.get("reason") else ""))]
    if job.get("routes"):
        rows.append(("asked for by", escape(", ".join(job["routes"]))))
    for attempt in job["attempts"]:
        why = f": {escape(str(attempt['reason']))}" if attempt.get("reason") else ""
        ended = f"{escape(str(attempt.get('outcome', 'running')))} {_time(attempt.get('ended'))}"
        rows.append(("attempt", f"{_time(attempt['at'])} on {escape(str(attempt['worker']))}, {ended}{why}"))
    told = {**job, "acquisition": _by_group(job.get("acquisition") or {})}
    rows += [(title, _value(told[name])) for name, title in _PARTS.items() if told.get(name)]
    for name, output in (job.get("outputs") or {}).items():
        made = f"{escape(UID(str(output.get('sop_class', ''))).name)}, {output.get('instances', '?')} instances"
        uids = "".join(
            f"<br>{_code(uid)} <span class=dim>sha256 {_code(digest[:16])}</span>"
            for uid, digest in list(zip(output.get("sop_uids", ()), output.get("digests", ()), strict=False))[:5]
        )
        more = output.get("instances", 0) - 5
        rows.append((f"output {escape(name)}", made + uids + (f"<br>and {more} more" if more > 0 else "")))
    return _pairs(rows)


def _by_group(values: Mapping[str, Any]) -> dict[str, Any]:
    """`device.Modality` and the like as groups; what is missing comes last, by its name."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if value is not None:
            groups.setdefault(name.partition(".")[0], {})[name.partition(".")[2]] = value
    missing = [name.partition(".")[2] for name, value in values.items() if value is None]
    return {**groups, "missing": missing} if missing else {**groups}


def _deliveries(deliveries: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in deliveries:
        said = ", ".join(f"{count} x {_word(answer)}" for answer, count in one["answers"].items()) or "nothing"
        state = _word(str(one.get("state"))) + (f"<br>{escape(str(one['reason']))}" if one.get("reason") else "")
        rows.append((escape(str(one["output"])), escape(str(one["peer"])), state, said, str(one["attempts"]),
                     _time(one.get("at"))))  # fmt: skip
    titles = ("output", "peer", "state", "what the peer answered", "attempts", "last")
    return _table(titles, rows, "Nothing was sent.")


def _timeline(events: Sequence[Mapping[str, Any]]) -> str:
    rows = [(str(one["seq"]), _time(one["at"]), f"<code class=t>{escape(one['type'])}</code>", escape(one["says"]))
            for one in events]  # fmt: skip
    return _table(("event", "time (UTC)", "type", "what it says"), rows, "None.")


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    head = "".join(f"<th>{title}</th>" for title in titles)
    return f"<table><tr>{head}</tr>{body}</table>" if body else f"<p>{empty}</p>"


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    return f"<table class=p>{''.join(f'<tr><th>{name}</th><td>{value}</td></tr>' for name, value in rows)}</table>"


def _word(word: str, shown: str | None = None) -> str:
    kind = "good" if word in _GOOD else "bad" if word in _BAD or word.startswith("0x") else "wait"
    return f"<span class='w {kind}'>{escape(shown or word)}</span>"


def _value(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, Mapping | list | tuple) and not value:
        return "none"
    if isinstance(value, Mapping):
        return "<br>".join(
            f"<span class=dim>{escape(str(key))}{':' if isinstance(one, Mapping) else ''}</span> {_inner(one)}"
            for key, one in value.items()
        )
    if isinstance(value, list | tuple):
        return ", ".join(_value(one) for one in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return _code(text) if len(text) >= 32 and " " not in text else escape(text)


def _inner(value: Any) -> str:
    """A value within another one: a mapping on one line, so that it stays with its name."""
    if isinstance(value, Mapping) and value:
        return ", ".join(f"<span class=dim>{escape(str(key))}</span> {_inner(one)}" for key, one in value.items())
    return _value(value)


def _code(text: Any) -> str:
    return f"<code>{escape(str(text))}</code>"


def _time(at: str | None) -> str:
    return "" if at is None else at[:19].replace("T", " ")
