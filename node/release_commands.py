"""`overread route`, `review`, `compare` and `promote`: what people decide about results and versions of models."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from node import config as configuration
from node import modes, options, papers, screens
from node.config import Config
from node.errors import ConfigError, GiveUp
from node.modes import MODES
from node.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from node.sections import nearest

if TYPE_CHECKING:
    from node.decisions import Decisions
    from node.store import Store

routes = typer.Typer(no_args_is_help=True, help="Release modes of routes.", rich_markup_mode=None)
reviews = typer.Typer(no_args_is_help=True, help="People's verdicts on results.", rich_markup_mode=None)
ByOption = Annotated[str, typer.Option("--by", help="Your name, as the log shall show it.")]
WhyOption = Annotated[str, typer.Option("--why", help="The reason; no patient data.")]


def _opened(path: Path) -> tuple[Config, Store, Decisions]:
    from node.decisions import Decisions
    from node.store import Store

    settings = configuration.load(path)
    store = Store(settings.node.database)
    return settings, store, Decisions(options.queries(settings).engine)


@routes.command("list")
def route_list(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Each route's release mode: by the configuration, set since, and in force."""
    settings, _, decisions = _opened(config)
    rows = decisions.route_modes()
    configured = {route.name: route.mode for route in settings.routes}
    stored = {name: row["mode"] for name, row in rows.items()}
    force = modes.in_force(configured, stored)
    told: list[dict[str, Any]] = [{"route": name, "configured": mode, "set": stored.get(name), "in_force": force[name],
             **{key: rows[name][key] if name in rows else None for key in ("set_by", "why", "at")}}
            for name, mode in configured.items()]  # fmt: skip
    if json:
        screens.as_json(told)
        return
    for one in told:
        line = f"{one['route']}: {one['in_force']} ({modes.SAYS[force[str(one['route'])]]})"
        if one["set"] is not None:
            line += f"; set to {one['set']} by {one['set_by']} on {screens.when(one['at'])}: {one['why']}"
            line += f"; the configuration says {one['configured']}, and the stricter counts"
        screens.out.print(line, markup=False, soft_wrap=True)


@routes.command("mode")
def route_mode(
    route: Annotated[str, typer.Argument(help="The route's name in the configuration.")],
    mode: Annotated[str, typer.Argument(help="off, shadow, review or live.")],
    by: ByOption,
    why: WhyOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Set a route's release mode, at once and until it is set again; the stricter of this and the configuration's."""
    settings, store, decisions = _opened(config)
    configured = {one.name: one.mode for one in settings.routes}
    if mode not in MODES:
        raise ConfigError(mode, f"is no release mode{nearest(mode, list(MODES))}")
    if route not in configured and not (mode == "live" and route in decisions.route_modes()):
        raise ConfigError(route, f"no such [[route]]{nearest(route, list(configured))}")
    wanted = next(one for one in MODES if one == mode)
    held = store.set_mode(route, wanted, by, why)
    told = f"route {route}: {mode}; {modes.SAYS[wanted]}"
    if modes.strictest((wanted, configured.get(route, "live"))) != mode:
        told += f". But the configuration says {configured[route]}, which is stricter and counts"
    if held:
        told += f". {held} deliveries that were not sent yet are held now: `overread review list`"
    screens.out.print(told, markup=False, soft_wrap=True)


@reviews.command("list")
def review_list(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """What is held and waits for a person, oldest first."""
    waiting = _opened(config)[2].held()
    if json:
        screens.as_json(waiting)
        return
    if not waiting:
        screens.out.print("nothing is held")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("result", "study", "rev", "pipeline", "since", "for", "why it waits"):
        table.add_column(name, overflow="fold")
    for one in waiting:
        table.add_row(f"job/{one['job_id']}", one["study_uid"], str(one["revision"]), one["pipeline"],
                      screens.when(one["since"]), ", ".join(one["peers"]), one["reason"])  # fmt: skip
    screens.out.print(table)


What = Annotated[str, typer.Argument(help="job/ID, a StudyInstanceUID with one result, or an output's SOPInstanceUID.")]


@reviews.command("accept")
def review_accept(what: What, by: ByOption, why: WhyOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """The result is right: what is held of it goes out."""
    _give(what, "accepted", by, why, config)


@reviews.command("reject")
def review_reject(what: What, by: ByOption, why: WhyOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """The result is wrong: what is not sent of it never goes out."""
    _give(what, "rejected", by, why, config)


@reviews.command("change")
def review_change(what: What, by: ByOption, why: WhyOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """A person made another in its place: what is not sent of it never goes out."""
    _give(what, "changed", by, why, config)


def _give(what: str, verdict: str, by: str, why: str, config: Path) -> None:
    _, store, decisions = _opened(config)
    given = store.add_review(decisions.output_of(what), verdict, by, why, "cli", time.time())
    said = f"job/{given.job_id} of {given.study_uid}: {given.verdict} by {given.by}; "
    ends = {"released": "what was held is due now", "recorded": "nothing of it was waiting; the verdict is on record",
            "withdrawn": f"what was not sent is withdrawn: {given.reason}"}  # fmt: skip
    screens.out.print(said + ends[given.outcome], markup=False, soft_wrap=True)
    raise typer.Exit(1 if verdict == "accepted" and given.outcome == "withdrawn" else 0)


def _day(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise ConfigError(option, f"{text!r} is no date; want YYYY-MM-DD") from error


def compare(
    old: Annotated[str, typer.Argument(help="A version of the model, such as 1.0.0.")],
    new: Annotated[str, typer.Argument(help="The other version.")],
    pipeline: Annotated[str | None, typer.Option(help="Where several pipelines have such versions.")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="YYYY-MM-DD, UTC: jobs that ended from then on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="YYYY-MM-DD, UTC: jobs that ended before it.")] = None,
    html: papers.HtmlOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """How far two versions of a model agree on the studies that both have read, and on which they do not."""
    from node import comparison_page as shown

    papers.check(html, json=json)
    found = _opened(config)[2].compare(old, new, pipeline, _day(begin, "--from"), _day(end, "--to"))
    if html is not None:
        papers.put({html: shown.page(found).encode()})
    if json:
        screens.as_json(shown.plain(found))
    elif html is None:
        _print_comparison(found)


def _print_comparison(found: Any) -> None:
    from node import comparison_page as shown

    screens.out.print(f"{shown.title(found)}\n{shown.alone(found)}", markup=False, soft_wrap=True)
    for one in found.findings:
        told = [f"{name} {cell}" for name, cell in zip(shown.HEAD[1:], shown.cells(one)[1:], strict=True) if cell]
        screens.out.print(f"{one.name}: {'; '.join(told)}", markup=False, soft_wrap=True)
    for group in found.groups:
        for one in group.findings:
            if one.positive is not None:
                where = f"{group.feature} = {group.value} ({group.n})"
                told_share = f"{where}: {one.name}: {one.positive.share:.0%} the same"
                screens.out.print(told_share, markup=False, soft_wrap=True)
    for one in found.examples:
        study, opposite, values = shown.example_cells(one)
        screens.out.print(f"{study}: opposite on {opposite}; {values}", markup=False, soft_wrap=True)


def promote(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name.")],
    version: Annotated[str, typer.Argument(help="The version of its model that is to be live.")],
    by: ByOption,
    why: WhyOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make a version of a pipeline's model the live one, from the next job on."""
    from node import variants
    from pipelines import registry

    settings, store, decisions = _opened(config)
    if pipeline not in registry.names():
        raise ConfigError(pipeline, f"no such pipeline{nearest(pipeline, list(registry.names()))}")
    former = variants.load(variants.live(pipeline, decisions.promoted()), settings).model
    wanted = variants.load(f"{pipeline}@{version}", settings).model
    if former == wanted:
        raise GiveUp(f"{pipeline}: version {version} is live already")
    in_shadow = any(f"{pipeline}@{former['version']}" in route.shadow for route in settings.routes)
    told = {"digest": wanted["digest"], "replaced": former["version"], "replaced_digest": former["digest"],
            "replaced_is": "shadow" if in_shadow else "retired",
            "read_by_both": decisions.read_by_both(pipeline, former["version"], version)}  # fmt: skip
    store.promote(pipeline, version, by, why, told)
    said = f"{pipeline}: {version} is live from the next job on; {former['version']} is {told['replaced_is']}. "
    said += f"Both have read {told['read_by_both']} studies."
    screens.out.print(said, markup=False, soft_wrap=True)
