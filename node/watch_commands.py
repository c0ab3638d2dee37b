"""`overread watch`, `overread alarms` and `overread alarm ...`: what monitoring sees, and what people say to it."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from node import config as configuration
from node import options, screens
from node.options import DEFAULT_CONFIG, ByOption, ConfigOption, JsonOption, WhyOption

alarm_app = typer.Typer(no_args_is_help=True, help="What a person says to an alarm.", rich_markup_mode=None)
EpisodeOption = Annotated[bool, typer.Option("--episode", help="All alarms that belong together with this one.")]
KeyArgument = Annotated[int, typer.Argument(help="The alarm's number.")]
_COLOUR = {"quiet": "green", "watch": "yellow", "alarm": "red"}


def watch(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """What is watched of each model, what each channel can see, and which alarms are open."""
    from node.watch import screen

    settings = configuration.load(config)
    queries = options.queries(settings)
    families = screen.families(queries, settings)
    routes = screen.routes(queries, settings, time.time())
    alarms = queries.alarms(open_only=True)
    if json:
        screens.as_json({"families": families, "routes": routes, "alarms": alarms})
    else:
        _print_watch(families, routes, alarms)


def alarms(
    key: Annotated[int | None, typer.Argument(help="One alarm's number: its whole story.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    json: JsonOption = False,
) -> None:
    """Open alarms; or what one alarm says: what changed, since when, where, before and after."""
    from node.errors import GiveUp
    from node.watch import words

    queries = options.queries(configuration.load(config))
    if key is not None:
        found = queries.alarm(key)
        if found is None:
            raise GiveUp(f"there is no alarm {key}; `overread alarms --all` lists them")
        if json:
            screens.as_json(found)
        else:
            for line in words.page(found):
                screens.out.print(line, markup=False, soft_wrap=True)
        return
    listed = queries.alarms(open_only=not every)
    if json:
        screens.as_json(listed)
    else:
        _print_alarms(listed)


@alarm_app.command()
def ack(
    key: KeyArgument, by: ByOption, why: WhyOption, episode: EpisodeOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:  # fmt: skip
    """You have seen it and look after it."""
    _, store = options.opened(config)
    for one in store.acknowledge_alarm(key, by, why, episode):
        screens.out.print(f"alarm {one}: acknowledged by {by}", markup=False)


@alarm_app.command()
def resolve(
    key: KeyArgument, by: ByOption, why: WhyOption,
    as_: Annotated[str, typer.Option("--as", help="false-alarm, data-fixed, accepted-change or model-changed.")],
    episode: EpisodeOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:  # fmt: skip
    """What it was. After an accepted change build and accept a new baseline: until then it stays on the list."""
    _, store = options.opened(config)
    more = "; now build and accept a new baseline: `overread baseline build`" if as_ == "accepted-change" else ""
    for one in store.resolve_alarm(key, by, why, as_, episode):
        screens.out.print(f"alarm {one}: resolved as {as_} by {by}{more}", markup=False)


@alarm_app.command()
def mute(
    key: KeyArgument, by: ByOption, why: WhyOption,
    until: Annotated[datetime, typer.Option(help="The end, such as 2027-01-31 or 2027-01-31T08:00:00.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:  # fmt: skip
    """Nobody is told of its channel until then. It stays on the list."""
    _, store = options.opened(config)
    store.mute_alarm(key, by, why, until.astimezone().timestamp())
    screens.out.print(f"alarm {key}: muted until {screens.when(until.astimezone().timestamp())}", markup=False)


def _print_watch(families: list[dict[str, Any]], routes: list[dict[str, Any]], alarms: list[dict[str, Any]]) -> None:
    from node.watch import sights

    if not families:
        screens.out.print("no job has ended yet: there is nothing to watch")
    for one in families:
        screens.out.print(f"[bold]{escape(one['pipeline'])}[/]  {escape(one['model'])}, at {escape(one['site'])}")
        screens.out.print(f"  {one['says']}", markup=False, soft_wrap=True)
        if not one["channels"]:
            continue
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in ("", "channel", "state", "of alarm", "sees within 90 days", "studies", "days"):
            table.add_column(title, justify="right" if title in ("of alarm", "studies", "days") else "left")
        for seen in one["channels"]:
            level = f"[{_COLOUR[seen['level']]}]{seen['level']}[/]"
            days = "" if seen["days"] is None else f"{seen['days']:.1f}" if seen["days"] < 10 else f"{seen['days']:.0f}"
            table.add_row(" ", escape(seen["channel"]), level, f"{seen['part_of_threshold']:.0%}", seen["sees"],
                          sights.within(seen["studies"]), days)  # fmt: skip
        screens.out.print(table, soft_wrap=True)
    for route in routes:
        screens.out.print(f"[bold]route {escape(route['name'])}[/]  {route['says']}", soft_wrap=True)
    screens.out.print()
    _print_alarms(alarms)


def _print_alarms(listed: list[dict[str, Any]]) -> None:
    from node.watch import words

    if not listed:
        screens.out.print("no alarm")
    first = {one["episode"]: one["id"] for one in listed}  # newest first, so that the oldest stays
    for one in sorted(listed, key=lambda one: (-one["episode"], one["id"])):
        colour = "red" if one["state"] == "open" else "yellow" if one["cleared_at"] is None else "dim"
        state = f"[{colour}]{one['state']}[/]"
        muted = f" (muted until {words.when(one['muted_until'])})" if (one["muted_until"] or 0) > time.time() else ""
        says = escape(f"{one['story'].get('says', one['channel'])} ({one['family'].partition('|')[0]})")
        under = "" if first[one["episode"]] == one["id"] else "  "
        belongs = "" if one["episode"] == one["id"] else f"  [dim]belongs to alarm {one['episode']}[/]"
        screens.out.print(
            f"{under}alarm {one['id']}  {state}{muted}  {words.when(one['opened_at'])}  {says}{belongs}", soft_wrap=True
        )
