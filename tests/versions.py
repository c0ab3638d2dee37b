"""A pipeline of the tests' own whose model lies on a site's shelf in two versions, and a node that runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.training.writer import write_package
from node import peers
from tests.nodes import RunningNode, StandInPacs, as_modality, running_node, stand_in_pacs
from tests.senders import write
from tests.tiny import CUSTOMIZE, slice_of
from tests.unit.test_models_card import card_data

PIPELINE = """
import os, tempfile, time
from pathlib import Path

import numpy as np

from pipelines import examples
from pipelines.base import Result
from pipelines.match import Match
from pipelines.outputs import codes
from pipelines.outputs.parts import Evaluation
from pipelines.outputs.report import Report
from pipelines.study import Study
from pipelines.volume import Volume

NAME = "tiny"
VERSION = "1.0.0"


class Tiny:
    name, version = NAME, VERSION
    accepts = Match(modality=("CT",), min_slices=3)

    def __init__(self, card):
        self.model = {"name": card.name, "version": card.version, "digest": card.digest}

    def select(self, study):
        return self.accepts.choose(study)

    def run(self, study, series):
        waits = Path(os.environ["TINY_WAITS"])
        if waits.exists():
            (waits.parent / "runs").touch()
        while waits.exists():
            time.sleep(0.05)
        new = self.model["version"] != "1.0.0"
        p = (0.8 if new else 0.3) + (0.1 if VERSION != "1.0.0" else 0)
        told = {"output.spot.p": p, "output.spot.positive": float(new), "patient.sex": "O"}
        said = Evaluation(codes.COMMENT, f"Tiny {self.model['version']}.")
        return Result([Report(Volume.from_series(series), [], [said])], features=told)

    def example(self):
        folder = Path(tempfile.mkdtemp())
        examples.ct_study(np.full((4, 16, 16), 40, np.int16), (5.0, 2.0, 2.0), folder)
        return Study.from_folder(folder)


def open_pipeline(models, device):
    return Tiny(models.find(NAME).card)
"""


class Place:
    """A folder with the pipeline, versions 1.0.0 and 1.1.0 of its model, a node and a stand-in PACS."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.site = site = folder / "site"
        site.mkdir(parents=True)
        (site / "tiny.py").write_text(PIPELINE)
        (site / "sitecustomize.py").write_text(CUSTOMIZE)
        for version in ("1.0.0", "1.1.0"):
            card = card_data(name="tiny", version=version, weights=None)
            write_package(folder / "shelf" / f"tiny-{version}", card, {"w.safetensors": version.encode()})
        self.waits = folder / "waits"  # while it is there, jobs run on
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        monkeypatch.setenv("TINY_WAITS", str(self.waits))

    def add_code(self, version: str) -> None:
        """Another version of the pipeline's code lies beside the first."""
        (self.site / "tiny_next.py").write_text(PIPELINE.replace('VERSION = "1.0.0"', f'VERSION = "{version}"', 1))
        known = CUSTOMIZE.replace('"1.0.0": "tiny"', f'"1.0.0": "tiny", "{version}": "tiny_next"')
        (self.site / "sitecustomize.py").write_text(known)

    @property
    def runs(self) -> bool:
        """Whether a job stands in the middle of its run."""
        return (self.folder / "runs").exists()

    @contextmanager
    def node(
        self, route: str = "", changes: Mapping[str, str] | None = None
    ) -> Iterator[tuple[RunningNode, StandInPacs]]:
        """A running node whose route has the lines `route` too, and its PACS. `changes`: see RunningNode."""
        changed = {
            'pipelines = ["ct-lung"]': f'pipelines = ["tiny"]\n{route}',
            'device = "cpu"': f'device = "cpu"\nmodels = ["{self.folder / "shelf"}"]',
            **(changes or {}),
        }
        with (
            stand_in_pacs(self.folder / "pacs") as pacs,
            running_node(self.folder / "node", pacs.port, quiet_time=0.3, changes=changed) as node,
        ):
            yield node, pacs

    def send(self, node: RunningNode, study: str) -> None:
        """A study of four slices."""
        files = [write(self.folder / study, slice_of(study, number)) for number in range(1, 5)]
        config, peer = as_modality(node)
        assert all(answer.stored for answer in peers.store(config, peer, files))
