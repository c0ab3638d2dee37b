"""crash-volume: the small pipeline of the crash tests. No network: air and tissue of a CT as a heatmap and a report.

The tests put this file among the pipelines of a node, as a site adds its own: one new file and nothing else.
"""

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from pipelines import examples
from pipelines.base import Result
from pipelines.match import Match
from pipelines.outputs import codes
from pipelines.outputs.heatmap import Heatmap
from pipelines.outputs.parts import Evaluation
from pipelines.outputs.report import Report
from pipelines.study import Study
from pipelines.volume import Volume

NAME = "crash-volume"


class CrashVolume:
    """How much of a CT is tissue."""

    name = NAME
    version = "1.0.0"
    accepts = Match(modality=("CT",), plane="axial", min_slices=3)
    model: ClassVar = {"name": "threshold-minus-500-hu", "version": "1", "digest": "0" * 64}

    def select(self, study):
        return self.accepts.choose(study)

    def run(self, study, series):
        volume = Volume.from_series(series)
        tissue = (volume.voxels > -500).astype(np.float32)
        ml = float(tissue.sum() * volume.voxel_ml)
        report = Report(volume, [], [Evaluation(codes.COMMENT, f"Tissue: {ml:.1f} ml above -500 HU.")])
        heatmap = Heatmap(volume, {"tissue": tissue}, "threshold")
        return Result([heatmap, report], findings={"tissue_ml": ml}, features={"tissue_ml": ml})

    def example(self):
        folder = Path(tempfile.mkdtemp())
        hu = np.full((3, 32, 32), -1000, np.int16)
        hu[:, 8:24, 8:24] = 40
        examples.ct_study(hu, (5.0, 2.0, 2.0), folder)
        return Study.from_folder(folder)


def open_pipeline(models, device):
    return CrashVolume()
