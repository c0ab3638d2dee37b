"""The watch loop in a real node: a study that came over DICOM is seen, and a killed loop goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil

from node import peers
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


def _seen(node: RunningNode, pipeline: str, seq: int = 0) -> dict[str, Any] | None:
    found = [one for one in node.queries.watch_states() if one["pipeline"] == pipeline and one["seq"] > seq]
    return found[0] if found else None


def test_a_study_over_dicom_is_watched_and_a_killed_loop_goes_on_where_it_was(tmp_path: Path) -> None:
    with stand_in_pacs(tmp_path / "pacs") as pacs, running_node(tmp_path / "node", pacs.port) as node:
        _send(node, tmp_path / "one", 1)
        first = wait_until(lambda: _seen(node, "ct-lung"), 20, "the study is watched")
        assert first["state"]["units"] == 1 and first["site"] == "main" and "ct-lung" in first["model"]
        watch = node.loop("watch")
        watch.kill()
        psutil.wait_procs([watch], 10)
        _send(node, tmp_path / "two", 2)
        second = wait_until(lambda: _seen(node, "ct-lung", first["seq"]), 20, "the next study is watched")
        assert second["state"]["units"] == 1 + (len(second["state"]["patients"]) - 1)
        assert node.loop("watch").pid != watch.pid
        with node.queries.engine.connect() as connection:
            from node.watch.watcher import Watcher, replay

            again = replay(connection, "main", second["seq"])
            live = Watcher("main")
            live.load(connection)
        assert again.states(set(again.courses)) == live.states(set(live.courses))
