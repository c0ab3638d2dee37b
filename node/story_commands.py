"""`overread explain` and `overread inventory`: what the audit log tells about one study, and about the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from node import config as configuration
from node import options, papers, screens
from node.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from node.queries import Queries


def explain(
    study: Annotated[str, typer.Argument(help="A StudyInstanceUID, how it starts, or an AccessionNumber.")],
    config: ConfigOption = DEFAULT_CONFIG,
    html: papers.HtmlOption = None,
    json: JsonOption = False,
) -> None:
    """One study's whole story from the audit log alone."""
    from node.telling import page, story

    papers.check(html, json=json)
    queries = options.queries(configuration.load(config))
    uid = find(queries, study)
    told = story.tell(uid, queries.events(f"study/{uid}"), queries.association)
    if html is not None:
        papers.put({html: page.render(told).encode()})
    if json:
        screens.as_json(told)
    elif html is None:
        _print(told)


def find(queries: Queries, wanted: str) -> str:
    """The study that is meant. Raises typer.BadParameter where it is none or several."""
    found = queries.studies_of_accession(wanted) or queries.find_studies(wanted)
    if wanted in found or len(found) == 1:
        return wanted if wanted in found else found[0]
    if queries.events(f"study/{wanted}"):
        return wanted
    raise typer.BadParameter(f"{len(found) or 'no'} studies have that accession number or start with that UID")


def inventory(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Every model version that ever ran or was on the shelf: first and last run, jobs by outcome, digests."""
    from node.telling import models

    found = models.ran(options.queries(configuration.load(config)).log(types=models.TYPES))
    if json:
        screens.as_json(found)
        return
    for one in found:
        name = " ".join(filter(None, (one["name"] or "no model on record", one["version"], (one["digest"] or "")[:16])))
        screens.out.print(f"[bold]{escape(name)}[/]", soft_wrap=True)
        jobs = ", ".join(f"{count} {word}" for word, count in one["jobs"].items())
        if jobs:
            pipeline = " ".join(filter(None, (one["pipeline"], one["pipeline_version"])))
            ran = f"{pipeline}: {jobs}, from {_time(one['first'])} to {_time(one['last'])} UTC"
            screens.out.print(f"  {ran}", markup=False, soft_wrap=True)
        else:
            screens.out.print("  never ran here", markup=False)
        if one["installed"]:
            left = f", retired {_day(one['retired'])}" if one["retired"] else ""
            screens.out.print(f"  on the shelf since {_day(one['installed'])}{left}", markup=False)


def _print(told: Mapping[str, Any]) -> None:
    show = _Lines()
    show.title(f"study {told['study']}")
    show.line("log", f"{told['events']} events, {_time(told['from'])} to {_time(told['until'])} UTC")
    for one in told["received"]:
        counts = ", ".join(f"{count} {word}" for word, count in one["counts"].items())
        caller = f"{one.get('calling_ae', '?')} at {one.get('address', '?')} ({one['peer']})"
        size = f"{one['series']} series, {one['bytes'] / 2**20:.1f} MiB"
        show.line("received", f"{caller}: {counts}, {size}; association {one.get('how', 'open')}")
    for one in told["revisions"]:
        again = f" (opened again: {one['opened_again_because']})" if one["opened_again_because"] else ""
        show.line("complete", f"revision {one.get('revision')} {_time(one['at'])}: {one.get('reason')}{again}")
        if "refused" in one:
            show.line("no job", str(one["refused"]))
        for route, answer in one.get("routes", {}).items():
            show.line("route", f"{route}: {answer}")
    for job in told["jobs"]:
        model = job.get("model") or {}
        made = f" with {model.get('name')} {model.get('version')} {str(model.get('digest'))[:16]}" if model else ""
        reason = f": {job['reason']}" if job.get("reason") else ""
        show.line("job", f"{job['pipeline']} on revision {job['revision']} {job['outcome']}{made}{reason}")
        _record(show, job)
        for name, value in (job.get("findings") or {}).items():
            show.line("", f"{name}: {screens.short(value)}")
        for name, output in (job.get("outputs") or {}).items():
            show.line("", f"made {name}: {output.get('instances')} instances")
    for one in told["deliveries"]:
        answers = ", ".join(f"{count} x {answer}" for answer, count in one["answers"].items()) or "no answer"
        reason = f": {one['reason']}" if one.get("reason") else ""
        show.line("sent", f"{one['output']} to {one['peer']}: {one.get('state')} ({answers}){reason}")
    for one in told["afterwards"]:
        show.line("then", f"{_time(one['at'])} {one['says']}")
    show.title("all events")
    _timeline(told["timeline"])


def _record(show: _Lines, job: Mapping[str, Any]) -> None:
    """What the job was run with, as far as it is on record."""
    record = job.get("record") or {}
    if "software" in record:
        on = ", ".join(str(record[name]) for name in ("device", "precision") if name in record)
        code = f"code {str(record['software'].get('code'))[:16]}, configuration {str(record.get('config'))[:16]}"
        show.line("", f"Overread {record['software'].get('overread')} on {on}; {code}")
    if "random" in record:
        random = (
            f"random: {', '.join(record['random'])}, seed {record['seed']}"
            if record["random"]
            else "nothing random ran"
        )
        pixels = f"; pixels {str(record['pixels'])[:16]}" if record.get("pixels") else ""
        show.line("", f"{random}{pixels}")
    for name in ("thresholds", "calibration"):
        if record.get(name):
            show.line("", f"{name}: {screens.short(record[name])}")


def _timeline(events: Sequence[Mapping[str, Any]]) -> None:
    for one in events:
        screens.out.print(f"{one['seq']:>7}  {_time(one['at'])}  {one['type']:<20} {one['says']}", markup=False,
                          soft_wrap=True)  # fmt: skip


class _Lines:
    def title(self, text: str) -> None:
        screens.out.print(f"[bold]{escape(text)}[/]", soft_wrap=True)

    def line(self, name: str, text: str) -> None:
        screens.out.print(f"[bold]{name:<9}[/] {escape(text)}", soft_wrap=True)


def _time(at: str | None) -> str:
    return "" if at is None else at[:19].replace("T", " ")


def _day(at: str) -> str:
    return at[:10]
