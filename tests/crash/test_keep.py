"""kill -9 while housekeeping purges files, signs a head or purges the log: what is promised holds, and it is done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node import faults
from node.proof.heads import FILE, PUBLIC, read_heads, read_keys
from node.proof.verify import Verdict
from node.queries import Queries
from node.retention import DAY
from node.spool import Spool
from node.store import Store
from node.sweeping import sweep
from tests.conftest import Arrivals, Clock
from tests.crash import housekeeping
from tests.crash.housekeeping import config
from tests.house import House

POINTS = tuple(point for point in faults.POINTS if point.startswith("keep."))


class Kept(House):
    """A study whose way is over, a log under a head, and housekeeping that is due."""

    def _arguments(self) -> tuple[str, Path, float]:
        return self.store.engine.url.render_as_string(hide_password=False), self.spool.root, self.clock()

    def keep_house(self) -> None:
        housekeeping.main(*self._arguments())

    def die_of_it(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.crash.housekeeping", *map(str, self._arguments())]
        done = subprocess.run(
            command, env={**os.environ, faults.VARIABLE: str(folder)}, capture_output=True, timeout=120
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]

    def told(self) -> list[str]:
        return [
            event.type for event in self.queries.events() if event.type.startswith("audit.") or ".purged" in event.type
        ]

    def proof(self) -> Verdict:
        folder = config(self.spool.root).heads_folder
        heads, wrong = read_heads(folder / FILE) if (folder / FILE).exists() else ([], None)
        assert wrong is None
        return self.queries.prove({"file": heads}, read_keys(folder / PUBLIC))


@pytest.fixture
def kept(store: Store, queries: Queries, spool: Spool, arrivals: Arrivals, clock: Clock, tmp_path: Path) -> Kept:
    made = Kept(store, queries, spool, arrivals, clock)
    made.over()
    (tmp_path / "faults").mkdir()
    return made


@pytest.mark.parametrize("point", POINTS)
def test_housekeeping_that_dies_leaves_what_is_promised_and_is_done_again(
    kept: Kept, tmp_path: Path, point: str
) -> None:
    kept.keep_house()  # too early to purge: a head
    assert kept.told() == ["audit.head"] and kept.state() == "ready"
    old = kept.queries.heads()[0].size
    kept.clock.tick(200 * DAY)
    for _ in range(3):
        kept.store.note("spool.swept", "keep", "node", {})
    (tmp_path / "faults" / point).write_text("kill")
    kept.die_of_it(tmp_path / "faults")
    assert not list((tmp_path / "faults").iterdir()), f"{point} was not reached"

    verdict, told, heads = kept.proof(), kept.told(), len(kept.queries.heads())
    assert verdict.broken is None and verdict.purged == 0
    if point in ("keep.purging", "keep.purged"):
        purged = point == "keep.purged"
        assert (kept.state(), told.count("study.purged")) == (("purged", 1) if purged else ("ready", 0))
        assert kept.files() == 3, "no file went"
        swept = sweep(kept.spool, kept.inventory, kept.clock(), kept.clock())
        assert len(swept) == (2 if purged else 0)
    else:
        assert (kept.state(), kept.files()) == ("purged", 1)
        assert heads == (1 if point == "keep.head-signing" else 2)
        exported, _ = read_heads(config(kept.spool.root).heads_folder / FILE)
        assert len(exported) == (2 if point == "keep.log-purging" else 1)
        assert "audit.purged" not in told and kept.queries.events()[0].seq == 1

    kept.keep_house()
    verdict = kept.proof()
    assert verdict.broken is None and (verdict.purged, verdict.heads) == (old, 2)
    assert (kept.state(), kept.files()) == ("purged", 1)
    assert kept.told().count("study.purged") == 1 and kept.told().count("audit.purged") == 1
