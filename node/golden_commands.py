"""`overread golden`: run the pipelines on their examples now, and hold what comes out against the record."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node import config as configuration
from node import options, screens, variants
from node.errors import ConfigError
from node.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from node.sections import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from node.config import Config
    from node.store.golden import Verdict

_MOST_LINES = 20  # of numbers that moved
_LIMIT = 600.0  # seconds: ten times what a slow machine needs that does nothing else


def golden(
    pipeline: Annotated[
        str | None, typer.Argument(help="One pipeline, or NAME@VERSION; default: all that the node runs.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    accept: Annotated[
        str | None, typer.Option(help="Make this run the record from now on; say why. Wants a PIPELINE.")
    ] = None,
    limit: Annotated[float, typer.Option(help="Seconds after which the run is given up.", min=1)] = _LIMIT,
    json: JsonOption = False,
) -> None:
    """Run the golden set now: does each pipeline still make of its example what it made of it before?"""
    from node.runners import local
    from node.store import Store

    settings = configuration.load(config)
    if accept is not None and (pipeline is None or not accept.strip()):
        raise ConfigError("--accept", "wants the name of one pipeline, and a reason")
    queries = options.queries(settings)
    names = _wanted(settings, pipeline, queries.promoted())
    queries.dispose()
    store, found = Store(settings.node.database), []
    for run in local.measured(settings, names, limit):
        verdict = store.settle_golden(run, f"user/{getpass.getuser()}", accept)
        found.append(verdict)
        if not json:
            _print(verdict, run.software)
    store.dispose()
    if json:
        screens.as_json([_plain(one) for one in found])
    raise typer.Exit(1 if any(one.word == "mismatch" for one in found) else 0)


def _wanted(settings: Config, pipeline: str | None, promoted: Mapping[str, str]) -> tuple[str, ...]:
    """Pipelines and variants; what a name leaves open is as it is live."""
    from pipelines import registry

    if pipeline is None:
        return variants.wanted(settings, promoted)
    name = registry.split(pipeline)[0]
    if name not in registry.names():
        raise ConfigError(f"pipeline {name!r}", f"no such pipeline{nearest(name, sorted(registry.names()))}")
    return (variants.live(pipeline, promoted),)


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {"pipeline": verdict.variant, "verdict": verdict.word, "record": screens.when(verdict.since),
            "software_then": dict(verdict.then), "moved": [vars(one) for one in verdict.moved]}  # fmt: skip


def _print(verdict: Verdict, software: Any) -> None:
    words = {"recorded": "the first run of this model version here: it is the record now",
             "accepted": "this run is the record now", "passed": "as on record",
             "mismatch": "NOT as on record"}  # fmt: skip
    lines = [f"{verdict.variant}: {words[verdict.word]}, of {screens.when(verdict.since)}"]
    lines += [f"  {one.words()}" for one in verdict.moved[:_MOST_LINES]]
    if len(verdict.moved) > _MOST_LINES:
        lines.append(f"  and {len(verdict.moved) - _MOST_LINES} more; --json lists all")
    changed = sorted(name for name in {*verdict.then, *software} if verdict.then.get(name) != software.get(name))
    lines += [f"  software: {name} was {verdict.then.get(name)}, is {software.get(name)}" for name in changed]
    screens.out.print("\n".join(lines), markup=False, soft_wrap=True)
