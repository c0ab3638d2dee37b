"""kill -9 from outside while a study is at a stage, with the bundled model: the whole way, as a site runs it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from tests.crash.at_points import die_at
from tests.crash.house import House, house
from tests.crash.verify import settle, violations
from tests.nodes import wait_until

pytestmark = pytest.mark.timeout(900)  # a few seconds each, but not where much else runs


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("kills"), "sqlite", "kills", None) as made:
        yield made


def _is_at(made: House, uid: str, stage: str) -> bool:
    study = made.node.study(uid)
    if study is None:
        return False
    if stage == "receiving":
        return bool(study["instances"] >= 3)
    if stage == "closing":
        return bool(study["state"] == "receiving" and study["instances"] >= 24)
    sent = [d for job in study["jobs"] for output in job["outputs"] for d in output["deliveries"]]
    if stage == "running":
        return any(job["state"] == "running" for job in study["jobs"])
    return any(one["state"] in ("sending", "delivered", "committed") for one in sent)


@pytest.mark.parametrize(
    ("victim", "stage"),
    [("work", "running"), ("models", "running"), ("node", "sending")],  # test_points and test_random kill the others
)
def test_a_killed_process_loses_nothing_and_sends_nothing_twice(standing: House, victim: str, stage: str) -> None:
    sending = standing.send("plain")
    wait_until(lambda: _is_at(standing, sending.uid, stage), 240, f"stage {stage}")
    assert standing.kill(victim)
    assert settle(standing, [sending]) == []
    assert violations(standing, [sending]) == []


def test_a_model_process_that_dies_with_half_its_results_written_writes_the_same_again(standing: House) -> None:
    assert die_at(standing, "models.renamed", Random(1)) == []
