"""The fuzz campaign: `python -m tests.fuzz [--inputs N] [--seed S] [--only TARGET,...]`; exit code 1 on any violation.

To repeat one input: the same --seed, --only its target, --first its number, --inputs 1.
"""

from __future__ import annotations

import argparse
import json
import resource
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzz.host import HANG, Failure, Tally, campaign, input_of
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

OUT = Path(__file__).parent.parent.parent / "fuzz-out"
ALL = 120_000  # inputs of a full run


def main() -> int:
    """Run, print the table, and keep what failed."""
    arguments = _arguments()
    seed = arguments.seed or secrets.token_hex(4)
    wanted = {name: make for name, make in TARGETS.items() if not arguments.only or name in arguments.only.split(",")}
    if not wanted:
        sys.exit(f"no target is called {arguments.only!r}; there are: {', '.join(TARGETS)}")
    console = Console()
    console.print(f"seed {seed}", highlight=False)
    until = time.monotonic() + arguments.minutes * 60
    with ThreadPoolExecutor(arguments.processes) as threads:
        shares = {name: make().share for name, make in wanted.items()}
        whole = sum(shares.values())
        runs = [
            threads.submit(_run, console, name, make, seed, arguments.first,
                           max(1, round(arguments.inputs * shares[name] / whole)), until, arguments.patience)
            for name, make in wanted.items()
        ]  # fmt: skip
        tallies = [run.result() for run in runs]
    _show(console, tallies)
    for tally in tallies:
        _keep(console, wanted[tally.name], tally, seed)
    OUT.mkdir(exist_ok=True)
    told = [{**vars(one), "failures": [vars(failure) for failure in one.failures]} for one in tallies]
    (OUT / "last-run.json").write_text(json.dumps({"seed": seed, "targets": told}, indent=2) + "\n")
    wanting = sum(one.inputs for one in tallies) < arguments.inputs * 0.999
    if wanting and not any(one.failures for one in tallies):
        console.print(f"[red]not all inputs were given within {arguments.minutes:g} minutes[/]")
    return int(wanting or any(one.failures for one in tallies))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=ALL, help=f"of all targets together (default {ALL})")
    parser.add_argument("--seed", default="", help="repeat a run (default: another one each time)")
    parser.add_argument("--only", default="", help=f"targets, separated by commas: {', '.join(TARGETS)}")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--processes", type=int, default=2, help="targets at once")
    parser.add_argument("--patience", type=float, default=1, help="more than 1 on a machine that has other work")
    parser.add_argument("--minutes", type=float, default=20, help="no input is begun after these")
    return parser.parse_args()


def _run(
    console: Console, name: str, make: Callable[[], Target], seed: str, first: int, count: int, until: float,
    patience: float,
) -> Tally:  # fmt: skip
    def tell(failure: Failure) -> None:
        console.print(f"{name} {failure.index}: {failure.what}", markup=False, highlight=False, soft_wrap=True)

    tally = campaign(make, name, seed, first, count, make().growth, until, patience, tell)
    console.print(
        f"{name}: {tally.inputs} inputs in {tally.seconds:.0f} s, {len(tally.failures)} violations", highlight=False
    )
    return tally


def _show(console: Console, tallies: list[Tally]) -> None:
    table = Table("target", "what", "inputs", "refused", "taken", "crashes", "slowest", "one input's memory", "growth")
    for one in tallies:
        table.add_row(one.name, TARGETS[one.name]().says, str(one.inputs), str(one.refused), str(one.taken),
                      str(len(one.failures)), f"{one.slowest:.2f} s (input {one.slowest_at})", f"{one.peak:.0f} MB",
                      f"{one.growth:.1f} MB")  # fmt: skip
    Console(width=max(console.width, 150)).print(table)
    total, failed = sum(one.inputs for one in tallies), sum(len(one.failures) for one in tallies)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    console.print(f"{total} inputs, {failed} violations; a hang is anything over {HANG:g} s; "
                  f"{(spent.ru_utime + spent.ru_stime) / 60:.1f} minutes of the processors' time", highlight=False)  # fmt: skip


def _keep(console: Console, make: Callable[[], Target], tally: Tally, seed: str) -> None:
    for failure in tally.failures:
        folder = OUT / f"{tally.name}-{seed}-{failure.index}"
        folder.mkdir(parents=True, exist_ok=True)
        one = input_of(make(), seed, failure.index)
        for number, part in enumerate(one.parts):
            (folder / f"{number:03d}.bin").write_bytes(part)
        again = f"python -m tests.fuzz --seed {seed} --only {tally.name} --first {failure.index} --inputs 1"
        (folder / "what.txt").write_text(f"{failure.what}\n{again}\n{one.about}\n")
        console.print(f"{tally.name} {failure.index}: {failure.what}\n  kept in {folder}; again: {again}",
                      markup=False, highlight=False, soft_wrap=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
