"""kill -9 while a person's word is being stored and what waits for it set free, held or withdrawn: nothing is lost,
nothing goes out twice, and nothing goes out that nobody accepted; on both databases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node import faults
from node.modes import Mode
from node.queries import Queries
from node.store import JobResult, NewOutput, OutputFile, Store
from tests.conftest import ROOT, Arrivals

MINE, OTHER = "1.2.3", "1.2.4"  # the study that is decided about, and one about which nobody said anything
PEERS = ("archive", "pacs")
AT = 1_800_000_000.0


def _result(store: Store, queries: Queries, arrivals: Arrivals, study: str, mode: Mode) -> None:
    """A study whose result waits for both peers."""
    arrivals.add(1, study=study)
    arrivals.close(queries, peers=PEERS)
    job = store.claim_job("w", 30)
    assert job is not None
    made = NewOutput("report", f"{study}.8", "1.2", (OutputFile(f"{study}.9", "p", "d", 1),))
    assert store.finish_job(job, [made], JobResult("s", "d", {}, {}, {}), wants=lambda peer: {"chest": mode})


def _killed(url: str, folder: Path, point: str, call: str) -> bool:
    """Whether a process that calls the store so dies at the point."""
    (folder / point).write_text("kill")
    code = f"from node.store import Store; Store({url!r}, lambda: {AT}).{call}; print('it lives')"
    died = subprocess.run([sys.executable, "-c", code], env={**os.environ, faults.VARIABLE: str(folder)}, cwd=ROOT,
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert not (folder / point).exists(), died.stderr
    return died.returncode == -signal.SIGKILL and not died.stdout


def _states(queries: Queries, study: str) -> set[str]:
    shown = queries.study(study)
    assert shown is not None
    told = [d["state"] for job in shown["jobs"] for output in job["outputs"] for d in output["deliveries"]]
    assert len(told) == len(PEERS)
    return set(told)


def _goes_out(store: Store) -> list[tuple[str, str]]:
    """(study, peer) of whatever the send loop would send now, as often as it would."""
    claimed = [store.claim_delivery("s", peer, 30) for peer in PEERS for _ in range(4)]
    return sorted((one.study_uid, one.peer) for one in claimed if one is not None)


def _told(queries: Queries, type_: str) -> int:
    return sum(event.type == type_ for event in queries.events())


@pytest.mark.parametrize("point", ["review.recording", "review.releasing", "review.released"])
@pytest.mark.parametrize(("verdict", "after"), [("accepted", "due"), ("rejected", "withdrawn")])
def test_a_verdict_that_dies_with_its_process_counts_wholly_or_not_at_all(
    store: Store, queries: Queries, arrivals: Arrivals, database: str, tmp_path: Path, point: str, verdict: str, after: str
) -> None:  # fmt: skip
    for study in (MINE, OTHER):
        _result(store, queries, arrivals, study, "review")
    given = (f"{MINE}.9", verdict, "Dr A", "a test", "cli", AT)
    assert _killed(database, tmp_path, point, f"add_review{given!r}")
    counts = point == "review.released"
    assert _states(queries, MINE) == {after if counts else "held"} and _states(queries, OTHER) == {"held"}
    assert _told(queries, "review.given") == int(counts)
    for _ in range(2):  # the person was told nothing, and says it again; and once more
        store.add_review(*given)
    assert _states(queries, MINE) == {after} and _states(queries, OTHER) == {"held"}
    assert _told(queries, "review.given") == 1
    assert _goes_out(store) == ([(MINE, peer) for peer in PEERS] if verdict == "accepted" else [])
    assert queries.verify()[1] is None


@pytest.mark.parametrize("point", ["review.setting", "review.set"])
def test_a_mode_whose_command_dies_counts_wholly_or_not_at_all(
    store: Store, queries: Queries, arrivals: Arrivals, database: str, tmp_path: Path, point: str
) -> None:
    for study in (MINE, OTHER):
        _result(store, queries, arrivals, study, "live")
    given = ("chest", "review", "Dr A", "a test")
    assert _killed(database, tmp_path, point, f"set_mode{given!r}")
    counts = point == "review.set"
    assert _states(queries, MINE) == _states(queries, OTHER) == {"held" if counts else "due"}
    assert queries.stored_modes() == ({"chest": "review"} if counts else {})
    assert store.set_mode(*given) == (0 if counts else 4)
    assert _told(queries, "route.mode") == 1 and _told(queries, "delivery.held") == 4
    assert _goes_out(store) == [] and queries.verify()[1] is None
