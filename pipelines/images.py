"""Single images without a place in the patient, such as radiographs: which of a series' images a Match takes, by what
their headers say. What only pixels tell is asked afterwards, by the pipeline."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipelines import pixels
from pipelines.frames import numbers
from pipelines.match import Match
from pipelines.study import Instance, Series


def against(match: Match, series: Series) -> list[str]:
    """The reasons against a series, none if at least one of its images is taken."""
    found = [why_not(match, one) for one in series.instances]
    return [] if None in found else list(dict.fromkeys(reason for reason in found if reason))


def taken(match: Match, series: Series) -> list[Instance]:
    """The series' images that are taken, in the order of their numbers."""
    found = [one for one in series.instances if why_not(match, one) is None]
    return sorted(found, key=_order)


def why_not(match: Match, instance: Instance) -> str | None:
    """Why an image is not taken, as far as its header tells; None if it is."""
    if (said := _refused(instance, "ViewPosition", match.refused_views)) is not None:
        return f"ViewPosition is {said}"
    if (said := _refused(instance, "BodyPartExamined", match.refused_body_parts)) is not None:
        return f"BodyPartExamined is {said}"
    species = str(instance.get("PatientSpeciesDescription", "")).strip()
    if species and not re.fullmatch(r"human|homo sapiens.*", species, re.IGNORECASE):
        return "PatientSpeciesDescription says that it is of an animal"
    frames = int((numbers(instance.header, "NumberOfFrames", 1) or (1,))[0])
    if frames != 1:
        return f"has {frames} frames, a radiograph has one"
    rows, columns = (int((numbers(instance.header, keyword, 1) or (0,))[0]) for keyword in ("Rows", "Columns"))
    if min(rows, columns) < match.min_pixels:
        return f"has {rows} x {columns} pixels, at least {match.min_pixels} x {match.min_pixels} are wanted"
    if match.max_aspect is not None and max(rows, columns) > match.max_aspect * min(rows, columns):
        return f"is {rows} x {columns} pixels, more than {match.max_aspect:g} times as long as wide"
    return pixels.why_not(instance)


def _order(instance: Instance) -> tuple[float, str]:
    return (numbers(instance.header, "InstanceNumber", 1) or (2.0**31,))[0], instance.SOPInstanceUID


def _refused(instance: Instance, keyword: str, patterns: Iterable[str]) -> str | None:
    value = instance.get(keyword, "")
    for one in [value] if isinstance(value, str) else value:
        said = str(one).strip()
        if any(re.fullmatch(pattern, said, re.IGNORECASE) for pattern in patterns):
            return said
    return None
