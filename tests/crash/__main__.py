"""The full run of the crash tests: `python -m tests.crash [--seed N] [--kills N] [--databases sqlite,postgresql]`.

Prints what it tried and what survived; exit code 1 when anything did not hold, with the seed to repeat it.
"""

from __future__ import annotations

import argparse
import json
import platform
import secrets
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

from node import __version__
from tests.crash.at_points import all_points, die_at
from tests.crash.at_random import round_of_kills
from tests.crash.databases import KINDS
from tests.crash.house import House, house, with_pipeline
from tests.crash.tally import Tally
from tests.crash.verify import after_a_restart, violations

_OF_CT_LUNG = ("receive.durable", "work.running", "models.asked", "models.renamed", "work.outcome", "send.answered")


def main() -> int:
    """The exit code."""
    asked = _asked()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell began us with one of them ignored
        signal.signal(number, signal.default_int_handler)
    began, tally = time.monotonic(), Tally()
    folder = Path(tempfile.mkdtemp(prefix="overread-crash-"))
    print(f"seed {asked.seed}, {asked.kills} random kills, {', '.join(asked.databases)}, in {folder}", flush=True)
    warnings.filterwarnings("ignore")  # of the libraries of PACS and modality, which run in this process
    home = with_pipeline(folder / "home")
    found: list[str] = []
    versions = {"overread": __version__, "python": platform.python_version(), "system": platform.platform()}
    for kind in asked.databases:
        random = Random(f"{asked.seed} {kind}")
        with house(folder / kind, kind, str(asked.seed), home) as made:
            versions[kind] = made.database.version
            for line in _kills(made, random, asked.kills // len(asked.databases)):
                print(line, flush=True)
            found += _end(made, tally)
        if found:
            break
    if not found and asked.ct_lung:
        with house(folder / "ct-lung", "sqlite", str(asked.seed), None) as made:
            for line in _at(made, Random(asked.seed), [(point, "kill") for point in _OF_CT_LUNG]):
                print(line, flush=True)
            found += _end(made, tally)
    print(tally.table(versions, asked.seed, time.monotonic() - began))
    if asked.json is not None:
        asked.json.write_text(json.dumps(tally.facts(versions, asked.seed, time.monotonic() - began), indent=2) + "\n")
    for line in found:
        print(f"VIOLATION: {line}")
    if found:
        print(f"again: make crash ARGS='--seed {asked.seed} --kills {asked.kills}'; files and logs are in {folder}")
    return 1 if found else 0


def _kills(made: House, random: Random, kills: int) -> Iterator[str]:
    """A line for each thing that was tried; it ends where something did not hold."""
    points = all_points(made.database.kind)
    random.shuffle(points)
    yield from _at(made, random, points)
    left = kills
    while left > 0 and not made.found:
        some = min(left, random.randint(5, 9))
        left -= some
        began = time.monotonic()
        made.found = round_of_kills(made, random, some)
        yield f"{made.database.kind}: {some} kills at random, {time.monotonic() - began:.1f} s, {_word(made)}"


def _at(made: House, random: Random, points: list[tuple[str, str]]) -> Iterator[str]:
    for point, word in points:
        if made.found:
            return
        began = time.monotonic()
        made.found = die_at(made, point, random, word)
        yield f"{made.database.kind}: {word} at {point}, {time.monotonic() - began:.1f} s, {_word(made)}"


def _word(made: House) -> str:
    return "VIOLATION" if made.found else "holds"


def _end(made: House, tally: Tally) -> list[str]:
    """Look at everything once more, and count it."""
    found = made.found or after_a_restart(made) or violations(made, made.sendings)
    tally.add(made)
    return [f"{made.database.kind}: {line}" for line in found]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="what all choices come from")
    parser.add_argument("--kills", type=int, default=130, help="at random moments, beside one at each fault point")
    parser.add_argument("--databases", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--ct-lung", action=argparse.BooleanOptionalAction, default=True, help="kills with a model")
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    asked = parser.parse_args()
    unknown = sorted(set(asked.databases) - set(KINDS))
    if unknown:
        parser.error(f"no database {unknown[0]!r}; there are: {', '.join(KINDS)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
