"""What people see in the terminal: tables and time lines, made from plain data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydicom.uid import UID
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from node.audit import Event
from node.check import Line

out = Console(soft_wrap=False, highlight=False)
err = Console(stderr=True, highlight=False)

_MARK = {True: "[green]ok[/]", False: "[red]NO[/]", None: "[dim]--[/]"}
_COLOUR = {
    "done": "green",
    "delivered": "green",
    "committed": "green",
    "skipped": "yellow",
    "withdrawn": "yellow",
    "held": "yellow",
    "failed": "red",
    "ready": "green",
}


def as_json(data: Any) -> None:
    """Print data for a machine."""
    print(json.dumps(data, indent=2, default=str))


def lines(found: Iterable[Line]) -> bool:
    """Print findings as they come; True when none is bad."""
    good = True
    for line in found:
        good = good and line.ok is not False
        out.print(
            f"{_MARK[line.ok]} [bold]{line.area:<9}[/] {escape(line.subject)}: {escape(line.text)}", soft_wrap=True
        )
    return good


def when(seconds: float | None) -> str:
    """A time as people read it, local."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def when_told(event: Event) -> str:
    """The time of an event as people read it, local."""
    return datetime.fromisoformat(event.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def state(word: str) -> str:
    """A state in its colour."""
    return f"[{_COLOUR.get(word, 'cyan')}]{word}[/]"


def status(counts: Mapping[str, Mapping[str, int]], recent: Sequence[Mapping[str, Any]]) -> None:
    """Totals and the newest studies."""
    for noun, by_state in counts.items():
        out.print(
            f"[bold]{noun:<11}[/]" + (", ".join(f"{count} {state(word)}" for word, count in by_state.items()) or "none")
        )
    if not recent:
        return
    table = Table(box=None, pad_edge=False)
    for title in ("study", "rev", "state", "last received", "instances", "jobs", "deliveries"):
        table.add_column(title, overflow="fold")
    for study in recent:
        jobs = [f"{job['pipeline']} {state(job['state'])} [dim](job/{job['id']})[/]" for job in study["jobs"]]
        sent = [d for job in study["jobs"] for output in job["outputs"] for d in output["deliveries"]]
        came = (state(study["state"]), when(study["last_received_at"]), str(study["instances"]))
        ran = "\n".join(jobs) or "[dim]none[/]"
        table.add_row(study["study_uid"], str(study["revision"]), *came, ran, _deliveries(sent))
    out.print(table)


def _deliveries(sent: Sequence[Mapping[str, Any]]) -> str:
    counted: dict[str, int] = {}
    for delivery in sent:
        counted[delivery["state"]] = counted.get(delivery["state"], 0) + 1
    failed = [f"delivery/{d['id']}" for d in sent if d["state"] == "failed"]
    return ", ".join(f"{count} {state(word)}" for word, count in counted.items()) + (
        f" ({', '.join(failed)})" if failed else ""
    )


def study(shown: Mapping[str, Any], events: Sequence[Event]) -> None:
    """One study: what it is, its results, and its time line from the log."""
    out.print(f"[bold]study[/]     {shown['study_uid']}, revision {shown['revision']}, {state(shown['state'])}")
    out.print(f"[bold]instances[/] {shown['instances']}")
    gone = [event for event in events if event.type == "study.purged"]
    if shown["purged"] and gone:
        told = f"{shown['purged']} instances since {when_told(gone[-1])}: {gone[-1].body['reason']}; "
        out.print(f"[bold]purged[/]    [yellow]{escape(told)}to run it again, send the whole study[/]", soft_wrap=True)
    if shown["reason"]:
        out.print(f"[bold]complete[/]  {escape(shown['reason'])}")
    closed = [event for event in events if event.type == "study.closed"]
    if closed and "refused" in closed[-1].body:
        out.print(f"[bold]no job[/]    [yellow]{escape(str(closed[-1].body['refused']))}[/]", soft_wrap=True)
        for name, reason in closed[-1].body.get("routes", {}).items():
            out.print(f"[bold]route[/]     {name}: {escape(reason)}", soft_wrap=True)
    for job in shown["jobs"]:
        text = f"[bold]job/{job['id']:<5}[/] {job['pipeline']} on revision {job['revision']}: {state(job['state'])}"
        out.print(text + (f" ({escape(job['reason'])})" if job["reason"] else ""), soft_wrap=True)
        if job["purged_at"]:
            out.print(f"          the files of its results were purged on {when(job['purged_at'])}")
        for output in job["outputs"]:
            for delivery in output["deliveries"]:
                said = ", ".join(f"{count} x {answer}" for answer, count in delivery["answers"].items())
                reason = f" ({escape(delivery['reason'])})" if delivery["reason"] else ""
                what = f"{output['name']}, {len(output['files'])} instances -> {delivery['peer']}"
                reason += _commitment(delivery)
                how = f"{state(delivery['state'])} {said}{reason} [dim]delivery/{delivery['id']}[/]"
                out.print(f"          {what}: {how}", soft_wrap=True)
                for one in delivery["not_stored"]:
                    out.print(f"            not stored: {one['sop_uid']}: {escape(str(one['reason']))}", soft_wrap=True)
    out.print()
    timeline(events)


_ASKED = {
    "due": "commitment is to be asked for", "asking": "commitment is being asked for",
    "asked": "commitment is asked for, no answer yet", "unanswered": "no answer about commitment",
    "unasked": "commitment is not to be had",
}  # fmt: skip


def _commitment(delivery: Mapping[str, Any]) -> str:
    """How it stands with the storage commitment of what is delivered and not committed."""
    asked = delivery["commitment"]
    if asked is None or delivery["state"] != "delivered" or asked["state"] not in _ASKED:
        return ""
    return f" ({_ASKED[asked['state']]}{': ' + escape(asked['reason']) if asked['reason'] else ''})"


def timeline(events: Sequence[Event]) -> None:
    """The log of one object; runs of equal events become one line."""
    run: list[Event] = []
    for event in [*events, None]:
        if event is not None and run and event.type == run[0].type and event.type.startswith("instance."):
            run.append(event)
            continue
        if run:
            _timeline_line(run)
        run = [event] if event is not None else []


def _timeline_line(run: Sequence[Event]) -> None:
    first, last = run[0], run[-1]
    at = datetime.fromisoformat(first.at).astimezone().strftime("%H:%M:%S.%f")[:-3]
    text = (
        f"{len(run)} instances until {datetime.fromisoformat(last.at).astimezone():%H:%M:%S}"
        if len(run) > 1
        else _body(first)
    )
    if len(run) > 1:
        text += f", from {', '.join(sorted({str(event.body.get('peer')) for event in run}))}"
    out.print(f"[dim]{first.seq:>6}[/] {at} [cyan]{first.type:<20}[/] {escape(text)}", soft_wrap=True)


def _body(event: Event) -> str:
    parts = []
    for key, value in event.body.items():
        if key in ("record", "acquisition", "features"):  # `overread explain` shows them
            continue
        if isinstance(value, Mapping) and key in ("outputs", "model", "findings", "timings", "routes"):
            if key == "outputs":
                value = {name: f"{one['instances']} instances" for name, one in value.items()}
            if key == "model":
                value = f"{value.get('name')} {value.get('version')} {str(value.get('digest'))[:12]}"
            elif key == "timings":
                value = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in value.items() if "." not in name)
            else:
                value = ", ".join(f"{name}: {short(one)}" for name, one in value.items())
        elif key == "answers":
            value = f"{sum(bool(one['stored']) for one in value)} stored of {len(value)}"
        elif key in ("input_digest", "digest"):
            value = str(value)[:12]
        parts.append(f"{key}={short(value)}")
    return " · ".join(parts)


def short(value: Any) -> str:
    """A value in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} {short(one)}" for key, one in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def configuration(shown: Mapping[str, Any]) -> None:
    """The effective configuration: what the file, the environment and the defaults make together."""
    for section in ("node", "work", "send", "keep", "watch", "audit", "hl7", "documents", "web"):
        values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in shown[section].items())
        out.print(f"[dim]\\[{section}] {escape(values)}[/]", soft_wrap=True)


def trial(told: Mapping[str, Any]) -> None:
    """What `overread try` did."""
    out.print(
        f"{told['pipeline']} with {told['model']['name']} {told['model']['version']}, {told['instances']} instances"
    )
    if told["outcome"] != "done":
        out.print(f"[yellow]{told['outcome']}[/]: {escape(told['reason'])}", soft_wrap=True)
        return
    for name, value in told["findings"].items():
        out.print(f"  {name}: {escape(short(value))}", soft_wrap=True)
    for output in told["outputs"]:
        out.print(f"  {output['name']}: {output['sop_class']}, {output['instances']} instances")
    stages = ", ".join(f"{name} {took:.2f} s" for name, took in told["timings"].items())
    out.print(f"  took {stages}\nwrote {told['folder']}", soft_wrap=True)


def journey(shown: Mapping[str, Any]) -> None:
    """What came of a study: the demonstration's closing table."""
    out.print(f"{shown['instances']} instances; complete because: {escape(shown['reason'] or '?')}")
    for job in shown["jobs"]:
        out.print(
            f"{job['pipeline']}: {state(job['state'])}" + (f" ({escape(job['reason'])})" if job["reason"] else ""),
            soft_wrap=True,
        )
        stages = Table("stage", "seconds", box=None, pad_edge=False, header_style="bold")
        stages.add_row("receive", f"{shown['last_received_at'] - shown['first_received_at']:.2f}")
        stages.add_row("wait for completeness", f"{shown['closed_at'] - shown['last_received_at']:.2f}")
        for name, seconds in (job["timings"] or {}).items():
            stages.add_row(name, f"{seconds:.2f}")
        sent = [d["finished_at"] for o in job["outputs"] for d in o["deliveries"] if d["finished_at"]]
        if sent:
            stages.add_row("send", f"{max(sent) - job['finished_at']:.2f}")
        out.print(stages)
        out.print()
        table = Table("output", "SOP class", "objects", "size", "peer", "state", "status", "SeriesInstanceUID",
                      box=None, pad_edge=False, header_style="bold")  # fmt: skip
        for output in job["outputs"]:
            size = sum(one["size"] for one in output["files"]) / 2**20
            for delivery in output["deliveries"]:
                said = ", ".join(f"{count} x {answer}" for answer, count in delivery["answers"].items())
                sop_class = UID(output["sop_class"]).name.removesuffix(" Storage")
                what = (output["name"], sop_class, str(len(output["files"])), f"{size:.1f} MiB")
                table.add_row(*what, delivery["peer"], state(delivery["state"]), said, output["series_uid"])
        out.print(table)
