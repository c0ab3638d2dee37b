"""`overread baseline build|show|accept`: what is normal, and who says so."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Annotated, Any

import typer

from node import config as configuration
from node import options, screens
from node.errors import GiveUp
from node.options import DEFAULT_CONFIG, ByOption, ConfigOption, JsonOption, WhyOption

app = typer.Typer(no_args_is_help=True, help="What is normal for a model at this site.", rich_markup_mode=None)


@app.command()
def build(
    family: Annotated[str, typer.Argument(help="A pipeline, or a family as `overread watch --json` names it.")],
    since: Annotated[datetime | None, typer.Option("--from", help="The first day.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", help="The day after the last.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Propose a baseline from the stored features. It counts once a named person accepts it."""
    from node.watch import normal, propose, sights, sources
    from node.watch.serve import budgets, family_named

    settings, store = options.opened(config)
    site = settings.watch.site
    with store.engine.connect().execution_options(reading=True) as connection:
        found = propose.families(connection, family, site, sources.SOURCES)
        name = family_named(list(found), family)
        if name is None:
            if not found:
                raise GiveUp(f"no job of {family!r} has ended here: there is nothing to build a baseline from")
            raise GiveUp(f"{family!r} is several models or sites; name one of them whole: {', '.join(sorted(found))}")
        made = propose.propose(
            connection, name, site, sources.SOURCES, budgets(settings, name.partition("|")[0]),
            settings.watch.baseline_studies, _seconds(since), _seconds(until),
        )  # fmt: skip
    text = made.normal.to_text()
    summary = {**made.summary, "sees": sights.of_vectors(made.normal)}
    key = store.propose_baseline(name, text, normal.digest(text), summary, f"user/{getpass.getuser()}")
    shown = next(one for one in options.queries(settings).baselines(name) if one["id"] == key)
    if json:
        screens.as_json(shown)
    else:
        _print(shown)
        screens.out.print(f"\nIf this is normal: overread baseline accept {key} --by NAME --why TEXT", markup=False)


@app.command()
def show(
    key: Annotated[int | None, typer.Argument(help="A baseline's number; without one all are listed.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Baselines: of how many studies, from when, who accepted them and why."""
    listed = options.queries(configuration.load(config)).baselines()
    chosen = [one for one in listed if key is None or one["id"] == key]
    if key is not None and not chosen:
        raise GiveUp(f"there is no baseline {key}; `overread baseline show` lists them")
    if json:
        screens.as_json(chosen if key is None else chosen[0])
    elif key is not None:
        _print(chosen[0])
    else:
        for one in chosen or ():
            by = f", by {one['accepted_by']}: {one['why']}" if one["accepted_by"] else ""
            line = f"baseline {one['id']}  {one['state']}  {one['family']}  {one['summary']['studies']:,} studies{by}"
            screens.out.print(line, markup=False, soft_wrap=True)
        if not chosen:
            screens.out.print("no baseline; `overread baseline build PIPELINE` proposes one")


@app.command()
def accept(
    key: Annotated[int, typer.Argument(help="The number that `overread baseline build` gave.")],
    by: ByOption,
    why: WhyOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """You say that this is normal. The one before is retired; open alarms of the model are over."""
    _, store = options.opened(config)
    store.accept_baseline(key, by, why)
    screens.out.print(f"baseline {key}: accepted by {by}; the watch begins anew with it", markup=False)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.astimezone().timestamp()


def _print(one: dict[str, Any]) -> None:
    from node.watch import sights

    summary = one["summary"]
    lines = [f"Baseline {one['id']} of {one['family']}: {one['state']}", f"  digest     {one['digest']}"]
    lines.append(f"  studies    {summary['studies']:,}, {summary['per_day']:.1f} a day")
    if "first" in summary:
        lines.append(
            f"  from, to   {screens.when(summary['first'])}, {screens.when(summary['last'])} ({summary['days']} days)"
        )
        for part, budget in summary["budgets"].items():
            if part in summary["channels"]:
                raised = summary["thresholds"][part] / summary["wanted"][part]
                more = f", raised {raised:.2f} times since days resemble each other" if raised > 1 else ""
                lines.append(f"  {part:<10} {len(summary['channels'][part])} channels; {budget:g} false alarms a year: "
                             f"threshold {summary['thresholds'][part]:,.0f} studies{more}")  # fmt: skip
        for name, found in summary.get("sees", {}).items():
            shift, sight = sights.from_plain(found)
            studies = f", in {sights.within(sight.studies)} studies" if sight else ""
            lines.append(f"  {name:<10} sees {shift}{studies}")
        lines += [f"  not watched  {name}: {why}" for name, why in summary["left_out"].items()]
        lines += [f"  mind       {text}" for text in summary["cautions"]]
    if one["accepted_by"]:
        lines.append(f"  accepted   {screens.when(one['accepted_at'])} by {one['accepted_by']}: {one['why']}")
    for line in lines:
        screens.out.print(line, markup=False, soft_wrap=True)
