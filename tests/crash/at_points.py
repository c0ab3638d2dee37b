"""A study for each fault point: the process that reaches it dies there, and the study must still end well."""

from __future__ import annotations

import time
from random import Random

from node import faults
from tests.crash.house import MOST_DEATHS, House
from tests.crash.verify import settle, violations

PASSED_OFTEN = (
    "receive.written", "receive.flushed", "receive.renamed", "receive.durable", "receive.committing",
    "receive.committed", "receive.answered", "models.made", "models.written", "models.renamed", "send.sent",
    "send.answered",
)  # fmt: skip
# Tried elsewhere: what commands pass in test_decisions.py, housekeeping in test_keep.py, what a drift makes the watch loop
# do in test_watching.py.
OF_THE_NODE = tuple(point for point in faults.POINTS if not point.startswith(("review.", "keep.", "watch.")))
_WAYS = {
    "receive.commitment-stored": "commit", "receive.commitment-claimed": "commit-stay",
    "receive.commitment-heard": "commit-stay", "send.telling": "commit", "send.told": "commit",
    "receive.ending": "split", "receive.admitted": "split", "close.committed": "late",
}  # fmt: skip
_FIRST = {"models.warming": "models", "node.loop-ended": "close", "node.upgraded": "node", "node.swept": "node"}


def die_at(house: House, point: str, random: Random, word: str = "kill") -> list[str]:
    """Let the node die at `point` on a study's way; what does not hold afterwards. `word`: see node.faults; "stop":
    the process stands still there while the database is stopped and started."""
    victim = point.partition(".")[0]
    if max(house.deaths.values(), default=0) >= MOST_DEATHS:
        house.kill("node")
    house.pacs.elsewhere = point == "receive.report-taken"
    times = random.randint(1, 4) if point in PASSED_OFTEN else 1
    house.node.arm(point, f"{word}@{times}")
    first = _FIRST.get(point)
    if first is not None and first != "node":
        _kill(house, first)
    sending = house.send(_WAYS.get(point, "plain"))
    if first == "node":  # it dies again while it starts, and is started until it is there
        house.kill("node")
    if not _wait(house, point):
        return [f"{point} was not reached within 240 s ({sending.uid})"]
    house.points[point] += 1
    if word == "stop":
        _without_database(house, random)
    else:
        house.died(victim)
    if point == "node.loop-ended":
        assert house.node.process is not None
        house.node.process.wait(30)
        house.start()
    found = settle(house, [sending]) or violations(house, [sending])
    return [f"{point}: {line}" for line in found]


def _kill(house: House, victim: str) -> None:
    deadline = time.monotonic() + 240
    while not house.kill(victim):
        assert time.monotonic() < deadline, f"there is no process {victim}"
        time.sleep(0.1)


def _wait(house: House, point: str) -> bool:
    deadline = time.monotonic() + 240
    while not house.node.reached(point):
        if time.monotonic() > deadline:
            (house.node.faults / point).unlink(missing_ok=True)
            return False
        time.sleep(0.02)
    return True


def _without_database(house: House, random: Random) -> None:
    """The process that stands at a point goes on when the database is gone, or when it is there again."""
    import psutil

    gone_first = random.random() < 0.5
    assert house.node.process is not None
    house.database.stop()
    house.kills["database"] += 1
    stopped = [one for one in psutil.Process(house.node.process.pid).children(recursive=True)
               if one.status() == psutil.STATUS_STOPPED]  # fmt: skip
    if gone_first:
        for one in stopped:
            one.resume()
        time.sleep(random.uniform(0.1, 1.0))
    house.database.start()
    for one in stopped:
        one.resume()


def all_points(kind: str) -> list[tuple[str, str]]:
    """(point, word) of all rows: the processes that die, and on PostgreSQL the database in the middle of a step."""
    rows = [(point, "kill") for point in OF_THE_NODE]
    if kind == "postgresql":
        rows += [(point, "stop") for point in OF_THE_NODE if point.partition(".")[0] not in ("node", "models")]
    return rows
