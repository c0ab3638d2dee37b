"""`overread route`, `review`, `compare` and `promote`: what people decide about results and versions of models."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node import modes, options, papers, screens
from node.config import Config
from node.errors import ConfigError, GiveUp
from node.modes import MODES
from node.options import DEFAULT_CONFIG, ByOption, ConfigOption, JsonOption, WhyOption
from node.sections import nearest

if TYPE_CHECKING:
    from node.decisions import Decisions
    from node.store import Store
    from pipelines.base import Pipeline

routes = typer.Typer(no_args_is_help=True, help="Release modes of routes.", rich_markup_mode=None)
reviews = typer.Typer(no_args_is_help=True, help="People's verdicts on results.", rich_markup_mode=None)


def _opened(path: Path) -> tuple[Config, Store, Decisions]:
    from node.decisions import Decisions

    settings, store = options.opened(path)
    return settings, store, Decisions(store.engine)


@routes.command("list")
def route_list(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Each route's release mode: by the configuration, set since, and in force."""
    settings, _, decisions = _opened(config)
    rows = decisions.route_modes()
    configured = {route.name: route.mode for route in settings.routes}
    stored = {name: row["mode"] for name, row in rows.items()}
    force = modes.in_force(configured, stored)
    gone = {name: mode for name, mode in stored.items() if name not in configured and mode != "live"}
    told: list[dict[str, Any]] = [
        {"route": name, "configured": configured.get(name), "set": stored.get(name), "in_force": mode,
         **{key: rows[name][key] if name in rows else None for key in ("set_by", "why", "at")}}
        for name, mode in {**force, **gone}.items()
    ]  # fmt: skip
    if json:
        screens.as_json(told)
        return
    for one in told:
        line = f"{one['route']}: {one['in_force']} ({modes.SAYS[one['in_force']]})"
        if one["set"] is not None:
            line += f"; set to {one['set']} by {one['set_by']} on {screens.when(one['at'])}: {one['why']}"
            line += f"; the configuration says {one['configured']}, and the stricter counts" if one["configured"] else (
                    "; it is no longer in the configuration, and what it asked for is held all the same")  # fmt: skip
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
    for one in waiting:
        told = f"job/{one['job_id']}  {one['pipeline']} of {one['study_uid']}"
        told += f" (revision {one['revision']}) for {', '.join(one['peers'])}, since {screens.when(one['since'])}: "
        screens.out.print(told + one["reason"], markup=False, soft_wrap=True)


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
    old: Annotated[str, typer.Argument(help="A version of the model (1.0.0) or of the pipeline's code (code-1.0.0).")],
    new: Annotated[str, typer.Argument(help="The other version.")],
    pipeline: Annotated[str | None, typer.Option(help="Where several pipelines have such versions.")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="YYYY-MM-DD, UTC: jobs that ended from then on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="YYYY-MM-DD, UTC: jobs that ended before it.")] = None,
    html: papers.HtmlOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """How far two versions agree on the studies that both have read, and on which they do not."""
    from node import comparison_page as shown
    from pipelines import registry

    papers.check(html, json=json)
    if pipeline not in (None, *registry.names()):
        raise ConfigError("--pipeline", f"no pipeline {pipeline!r}{nearest(str(pipeline), list(registry.names()))}")
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
        for line in shown.group_lines(group):
            screens.out.print(line, markup=False, soft_wrap=True)
    for one in found.examples:
        study, opposite, values = shown.example_cells(one)
        screens.out.print(f"{study}: opposite on {opposite}; {values}", markup=False, soft_wrap=True)


def promote(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name.")],
    version: Annotated[str, typer.Argument(help="The version of its model (1.1.0) or code (code-1.1.0) to be live.")],
    by: ByOption,
    why: WhyOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Make a version of a pipeline's model or code the live one, from the next job on."""
    from models.errors import ModelError
    from node import variants
    from pipelines import registry

    settings, store, decisions = _opened(config)
    if pipeline not in registry.names():
        raise ConfigError(pipeline, f"no such pipeline{nearest(pipeline, list(registry.names()))}")
    promoted = decisions.promoted()
    wanted = _made_with(variants.load(variants.live(f"{pipeline}@{version}", promoted), settings))
    live = variants.live(pipeline, promoted)
    try:
        former = _made_with(variants.load(live, settings))
    except (ModelError, ConfigError):  # it is gone or damaged: the more reason to make another one live
        former = dict(zip(("version", "pipeline_version"), registry.parts(registry.split(live)[1]), strict=True))
    if former == wanted:
        raise GiveUp(f"{pipeline}: version {version} is live already")
    of_model, of_code = registry.parts(version)
    replaced = registry.joined(of_model and former["version"], of_code and former["pipeline_version"])
    in_shadow = replaced is not None and any(f"{pipeline}@{replaced}" in route.shadow for route in settings.routes)
    told = {"digest": wanted["digest"], "replaced": replaced or "unknown", "replaced_digest": former.get("digest"),
            "replaced_is": "shadow" if in_shadow else "retired",
            "read_by_both": decisions.read_by_both(pipeline, replaced, version) if replaced else 0}  # fmt: skip
    store.promote(pipeline, version, by, why, told)
    said = f"{pipeline}: {version} is live from the next job on; {replaced or 'the former one'} is "
    said += f"{told['replaced_is']}. Both have read {told['read_by_both']} studies."
    screens.out.print(said, markup=False, soft_wrap=True)


def _made_with(pipeline: Pipeline) -> dict[str, Any]:
    return {**pipeline.model, "pipeline_version": pipeline.version}
