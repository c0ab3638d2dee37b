"""What is read before its job comes: told to the runner once, held for the same files only, and never the last word."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from node.ahead import LookAhead
from node.config import Config
from node.queries import Queries
from node.routes import Routes
from node.runners.base import Ahead, Outcome, Request
from node.runners.ready import Ready
from node.sections import Node, Peer, Route
from node.spool import Spool
from pipelines.base import Unsuitable
from pipelines.match import Match
from pipelines.study import NotAStudy, Replaced, Series, Study
from pipelines.volume import Volume
from tests.conftest import Arrivals
from tests.results import written
from tests.unit.test_close import _file


class Noting:
    """A runner that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Ahead] = []

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self, reason: str) -> None: ...

    def prepare(self, ahead: Ahead) -> None:
        self.told.append(ahead)

    def run(self, request: Request) -> Future[Outcome]:
        raise AssertionError("no job here")


@pytest.fixture
def runner() -> Noting:
    return Noting()


@pytest.fixture
def look_ahead(queries: Queries, spool: Spool, runner: Noting) -> LookAhead:
    pacs = Peer(name="pacs", ae_title="PACS", host="h", port=1)
    route = Route(name="chest", match={"Modality": "CT"}, pipelines=("ct-lung",), send_to=("pacs",))
    routes = Routes(Config(node=Node(), peer=(pacs,), route=(route,)), ["ct-lung"])
    return LookAhead(queries, spool, routes, runner)


def test_the_runner_is_told_when_the_associations_have_ended_and_once_for_each_change(
    look_ahead: LookAhead, runner: Noting, arrivals: Arrivals, spool: Spool
) -> None:
    first = _file(spool, 1)
    arrivals.add(1, path=first)
    look_ahead.look()
    assert runner.told == []
    arrivals.store.end_association(arrivals.association, "released")
    look_ahead.look()
    look_ahead.look()
    assert runner.told == [Ahead({str(spool.path(first)): f"{1:064x}"}, ("ct-lung",))]
    second = _file(spool, 2)
    arrivals.store.clock.tick(1)  # type: ignore[attr-defined]
    arrivals.add(2, path=second)
    look_ahead.look()
    assert len(runner.told) == 2 and set(runner.told[1].files) == {str(spool.path(one)) for one in (first, second)}


def test_the_runner_is_not_told_of_a_study_that_no_route_takes(
    look_ahead: LookAhead, runner: Noting, arrivals: Arrivals, spool: Spool
) -> None:
    arrivals.add(1, path=_file(spool, 1, "US"), modality="US")
    arrivals.store.end_association(arrivals.association, "released")
    look_ahead.look()
    assert runner.told == []


class Any:
    """A pipeline that takes the first series."""

    name, version, accepts, model = "any", "1", Match(), ("m", "1")

    def select(self, study: Study) -> Series:
        if study.series[0].get("Modality") != "CT":
            raise Unsuitable("not CT")
        return study.series[0]


def asked(files: dict[str, str], revision: int = 1) -> Request:
    return Request("1.2.3", revision, "any", 0.0, files, Path("spool"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    study = written(tmp_path, shape=(6, 16, 16))
    return {str(one.path): one.digest for one in study.instances}


def test_a_study_that_was_read_ahead_is_not_read_again(files: dict[str, str]) -> None:
    ready = Ready()
    ready.read(Ahead(files, ("any",)), {"any": Any()})  # type: ignore[dict-item]
    pixels = {path: Path(path).read_bytes() for path in files}
    for path in files:
        Path(path).unlink()
    replaces = (Replaced("report", "1.2", "1.3", "1.4"),)
    study = ready.study(asked(files, 3), replaces)
    assert (study.revision, study.replaces, len(study.instances)) == (3, replaces, 6)
    volume = Volume.from_series(study.series[0])
    assert volume.voxels.shape == (6, 16, 16)
    for path, content in pixels.items():
        Path(path).write_bytes(content)
    again = Volume.from_series(study.series[0])  # held for one reader: the next one gets voxels of its own
    assert again is not volume and np.array_equal(again.voxels, volume.voxels)


def test_other_content_is_read_anew(files: dict[str, str]) -> None:
    ready = Ready()
    ready.read(Ahead(files, ()), {})
    fewer = dict(list(files.items())[:4])
    assert len(ready.study(asked(fewer), ()).instances) == 4
    ready.read(Ahead(files, ()), {})
    changed = dict.fromkeys(files, "0" * 64)
    assert {one.digest for one in ready.study(asked(changed), ()).instances} == {"0" * 64}


def test_what_cannot_be_read_ahead_is_left_to_the_job(files: dict[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"\0" * 128 + b"DICM")
    ready = Ready()
    ready.read(Ahead({**files, str(broken): "1" * 64}, ("any",)), {"any": Any()})  # type: ignore[dict-item]
    with pytest.raises(NotAStudy):
        ready.study(asked({**files, str(broken): "1" * 64}), ())
    assert len(ready.study(asked(files), ()).instances) == 6


def test_an_unsuitable_study_is_ready_without_its_pixels(tmp_path: Path) -> None:
    study = written(tmp_path, shape=(6, 16, 16), Modality="MR")
    files = {str(one.path): one.digest for one in study.instances}
    ready = Ready()
    ready.read(Ahead(files, ("any",)), {"any": Any()})  # type: ignore[dict-item]
    assert len(ready.study(asked(files), ()).instances) == 6


def test_what_no_job_asked_for_is_given_back(files: dict[str, str]) -> None:
    ready = Ready()
    ready.read(Ahead(files, ("any",)), {"any": Any()})  # type: ignore[dict-item]
    study = ready.study(asked(files), ())
    ready.forget()
    for path in files:
        Path(path).unlink()
    with pytest.raises(OSError):
        Volume.from_series(study.series[0])  # its pixels would have to be read again
