"""What is said of a study that a pipeline does not take: a report with the reason, so that silence means a fault."""

from __future__ import annotations

import numpy as np

from pipelines.base import Unsuitable
from pipelines.outputs import codes
from pipelines.outputs.identity import Maker, is_ours
from pipelines.outputs.parts import Evaluation
from pipelines.outputs.report import Report
from pipelines.radiograph import Radiograph
from pipelines.study import Study

_PROCEDURES = {"CT": codes.CT_PROCEDURE, "MR": codes.MR_PROCEDURE}


def declined(study: Study, maker: Maker, why: Unsuitable) -> list[Report]:
    """A report on the first image of each series that says that the analysis was not attempted, and why; none for a
    study that holds nothing but results of ours."""
    first = [one.instances[0] for one in study.series if not is_ours(one.instances[0].header)]
    if not first:
        return []
    looked_at = Radiograph(np.empty((0, 0, 0), np.float32), tuple(first))  # no pixels: headers were enough
    reason = why.reason.encode("ascii", "replace").decode()  # whatever the study's character set is
    said = (
        Evaluation(codes.SUMMARY_OF_ANALYSES, codes.NOT_ATTEMPTED),
        Evaluation(codes.COMMENT, f"Not suitable for {maker.pipeline} {maker.pipeline_version}: {reason}"[:1024]),
    )
    modality = str(study.series[0].get("Modality", ""))
    return [Report(looked_at, (), said, procedure=_PROCEDURES.get(modality, codes.XR_PROCEDURE))]
