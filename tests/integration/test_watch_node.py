"""The watch loop in a real node: a study that came over DICOM is seen, and a killed loop goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from node import peers
from node.schema import watch_states
from node.watch.watcher import Watcher, replay
from pipelines.phantom_studies import chest_study
from pipelines.study import Study
from tests.nodes import RunningNode, as_modality, running_node, stand_in_pacs, wait_until


def _send(node: RunningNode, folder: Path, seed: int) -> str:
    chest_study(folder, seed=seed, slices=32, matrix=128)
    study = Study.from_folder(folder)
    config, peer = as_modality(node)
    assert all(answer.stored for answer in peers.store(config, peer, [one.path for one in study.instances]))
    node.wait_settled(study.StudyInstanceUID)
    return study.StudyInstanceUID


def _seen(node: RunningNode, pipeline: str) -> dict[str, Any] | None:
    return next((one for one in node.queries.watch_states() if one["pipeline"] == pipeline), None)


def _read(node: RunningNode, after: int) -> int:
    """Up to which event the log is read, once that is one after `after`; else 0."""
    with node.queries.engine.connect() as connection:
        at = connection.execute(sa.select(watch_states.c.seq).where(watch_states.c.family == "*")).scalar_one()
    return int(at) if at > after else 0


def test_a_study_over_dicom_is_watched_and_a_killed_loop_goes_on_where_it_was(tmp_path: Path) -> None:
    with stand_in_pacs(tmp_path / "pacs") as pacs, running_node(tmp_path / "node", pacs.port) as node:
        _send(node, tmp_path / "one", 1)
        first = wait_until(lambda: _seen(node, "ct-lung"), 20, "the study is watched")
        assert first["state"]["units"] == 1 and first["site"] == "main" and "ct-lung" in first["model"]
        watch = node.loop("watch")
        watch.kill()
        psutil.wait_procs([watch], 10)
        _send(node, tmp_path / "two", 2)
        read = wait_until(lambda: _read(node, first["seq"]), 60, "the next study is read by a new loop")
        second = _seen(node, "ct-lung")
        assert second is not None
        assert second["state"]["units"] == 2, "each phantom is a patient of its own"
        assert node.loop("watch").pid != watch.pid
        with node.queries.engine.connect() as connection:
            again = replay(connection, "main", read)
            live = Watcher("main")
            live.load(connection)
        assert again.states(set(again.courses)) == live.states(set(live.courses))
