"""`overread purge` and `overread spool verify`: housekeeping by hand."""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node import options, screens
from node.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from node.purging import Choice

app = typer.Typer(no_args_is_help=True, help="The folder of received studies and results.", rich_markup_mode=None)
_MOST_LINES = 50  # of piles that stay


def purge(
    config: ConfigOption = DEFAULT_CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go and what stays, and why.")] = False,
    older_than: Annotated[float | None, typer.Option(min=0, help="Days, in place of the configured ages.")] = None,
    json: JsonOption = False,
) -> None:
    """Delete old files of studies and results now, as the node does by itself; rows and log stay."""
    from node.purging import Purge
    from node.spool import Spool

    settings, store = options.opened(config)
    wanted = Purge(settings, store, Spool(settings.node.spool), f"user/{getpass.getuser()}", older_than)
    chosen = wanted.plan() if dry_run else wanted.run()
    if json:
        screens.as_json({"dry_run": dry_run, "piles": [_plain(one) for one in chosen]})
    else:
        _print(chosen, dry_run)


@app.command()
def verify(config: ConfigOption = DEFAULT_CONFIG, json: JsonOption = False) -> None:
    """Read every file and hold it against its row: is it there, and are its bytes as they came?"""
    from node.inventory import Inventory
    from node.spool import Spool
    from node.sweeping import Verdict
    from node.sweeping import verify as look

    settings, store = options.opened(config)
    found: dict[str, list[str]] = {"missing": [], "changed": [], "stray": []}
    good = 0
    for verdict in look(Spool(settings.node.spool), Inventory(store.engine)):
        if isinstance(verdict, Verdict):
            found[verdict.word].append(verdict.path)
            if not json:
                screens.out.print(f"{verdict.word} {verdict.path}", markup=False, soft_wrap=True)
        else:
            good += 1
    if json:
        screens.as_json({"good": good, **found})
    else:
        told = ", ".join(f"{len(paths)} {word}" for word, paths in found.items())
        screens.out.print(f"{good} files are as they were written; {told}")
    raise typer.Exit(1 if found["missing"] or found["changed"] else 0)


_WHAT = {"study": "received instances", "results": "results", "returned": "results that came back"}


def _plain(one: Choice) -> dict[str, Any]:
    pile = one.pile
    return {"what": pile.kind, "study": pile.study_uid, "since": screens.when(pile.since), "files": pile.files,
            "bytes": pile.bytes, "goes": one.goes, "reason": one.reason}  # fmt: skip


def _print(chosen: Iterable[Choice], dry_run: bool) -> None:
    """Each pile that goes or went; of those that stay the first ones, with the reason; the sums."""
    goes, stays = "would go" if dry_run else "gone", 0
    total = {True: [0, 0], False: [0, 0]}
    for one in chosen:
        pile = one.pile
        total[one.goes][0] += pile.files
        total[one.goes][1] += pile.bytes
        stays += not one.goes
        if one.goes or stays <= _MOST_LINES:
            what = f"{pile.files} {_WHAT[pile.kind]} of {pile.study_uid}, {_size(pile.bytes)}"
            what += f", {screens.when(pile.since)}"
            screens.out.print(f"{goes if one.goes else 'stays'}: {what}: {one.reason}", markup=False, soft_wrap=True)
    if stays > _MOST_LINES:
        screens.out.print(f"and {stays - _MOST_LINES} more that stay; --json lists all")
    words = [f"{total[True][0]} files, {_size(total[True][1])} {goes}"]
    if dry_run:
        words.append(f"{total[False][0]} files, {_size(total[False][1])} stay")
    screens.out.print("; ".join(words))


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
