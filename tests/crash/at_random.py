"""Kills at random moments while several modalities send several studies at once."""

from __future__ import annotations

import time
from random import Random

from tests.crash.house import LOOPS, MOST_DEATHS, House
from tests.crash.modality import WAYS
from tests.crash.verify import after_a_restart, settle, violations


def round_of_kills(house: House, random: Random, kills: int) -> list[str]:
    """Several studies on their way at once, `kills` deaths among them; what does not hold when all is over."""
    house.pacs.elsewhere = random.random() < 0.5
    ways = ["split", "late", *random.choices(WAYS, k=random.randint(1, 2))]
    sendings = [house.send(way, random.randint(5, 12)) for way in ways]
    victims = [*LOOPS, "node"] + (["database"] if house.database.kind == "postgresql" else [])
    told = []
    for _ in range(kills):
        time.sleep(random.expovariate(1 / 0.7))
        victim = random.choice(victims)
        if victim != "node" and house.deaths[victim] >= MOST_DEATHS:
            victim = "node"
        told.append(_kill(house, victim, random))
    found = settle(house, sendings) or violations(house, sendings)
    found = found or after_a_restart(house)
    return [f"{line} (killed: {', '.join(told)})" for line in found]


def _kill(house: House, victim: str, random: Random) -> str:
    """Whom it hit: the worker in place of a model process that is dead and, without a job, is not replaced yet."""
    if victim == "database":
        house.stop_database(random.uniform(0, 2))
        return victim
    begun = time.monotonic()
    while not house.kill(victim):
        waited = time.monotonic() - begun
        assert waited < 240, f"there is no process {victim}"
        if victim == "models" and waited > 10:
            victim = "work"
        time.sleep(0.02)
    return victim
