"""Received files as the rest of the node reads them: routes look at headers, pipelines at studies, volumes and pixels.

Decoders written in C may end the process on some damage. In the node that is the model process, which is replaced;
here it is the process of this target, and it counts as a crash.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node import logs
from node.errors import GiveUp
from node.plans import read_header
from pipelines import ct_lung, features
from pipelines.base import Unsuitable
from pipelines.match import Match
from pipelines.radiograph import Radiograph
from pipelines.study import NotAStudy, Study, read_patient
from pipelines.volume import Volume
from tests.fuzz import images, seeds
from tests.fuzz.host import resident
from tests.fuzz.mutate import mutated
from tests.fuzz.target import MARKER, Input, Violation, Word

_KEYWORDS = ("Modality", "BodyPartExamined", "SeriesDescription", "Rows", "SliceThickness", "ImageType")
_EXPECTED = (NotAStudy, Unsuitable, GiveUp)
_ANY = Match()


class Files:
    """Mutated real and synthetic files, and files made to harm."""

    name, says, share, growth, peak = "files", "files, read as pipelines read them", 0.18, 96.0, 384.0
    patience = 1.0

    def open(self, folder: Path) -> None:
        """A folder for the files of one input; what is logged goes into a file of it, as in the model process."""
        self._folder = folder
        self._log = folder / "log"
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        logs.set_up("debug")

    def make(self, rng: random.Random) -> Input:
        """One series, damaged."""
        kind = rng.random()
        if kind < 0.4:
            return Input(images.hostile(rng))
        cases = seeds.real() if kind > 0.7 and seeds.real() else seeds.synthetic()
        case, others = rng.choice(cases), rng.choice(cases)
        if rng.random() < 0.5:  # all slices damaged alike, so that they still fit each other
            state = rng.random()
            return Input(tuple(mutated(random.Random(state), one, others, 3) for one in case))
        at = rng.randrange(len(case))
        return Input(tuple(mutated(rng, one, others) if index == at else one for index, one in enumerate(case)))

    def give(self, one: Input) -> Word:
        """Read them as close, work and the model process do."""
        paths = []
        for number, content in enumerate(one.parts):
            paths.append(self._folder / f"{number}.dcm")
            paths[-1].write_bytes(content)
        for path in paths:
            _try(lambda path=path: read_header(path, _KEYWORDS))  # type: ignore[misc]
            _try(lambda path=path: read_patient(path))  # type: ignore[misc]
        study = _try(lambda: Study.from_files({path: f"{number:064x}" for number, path in enumerate(paths)}))
        word: Word = "refused"
        for series in study.series if study is not None else ():
            _try(lambda series=series: [match.explain(series) for match in (_ANY, ct_lung.ACCEPTS)])  # type: ignore[misc]
            _try(lambda: ct_lung.ACCEPTS.choose(study))
            volume = _try(lambda series=series: Volume.from_series(series))  # type: ignore[misc]
            if volume is not None:
                word = "taken"
                _try(lambda series=series, volume=volume: features.acquisition(series, volume))  # type: ignore[misc]
                features.pixels(volume)
            for instance in series.instances:
                if _try(lambda instance=instance: Radiograph.from_instance(instance)) is not None:  # type: ignore[misc]
                    word = "taken"
        for path in paths:
            path.unlink()
        return word

    def memory(self) -> float:
        """Our own."""
        return resident()

    def close(self) -> None:
        """Nothing of a patient was written to standard error, by a library either."""
        if MARKER.encode() in self._log.read_bytes():
            raise Violation("a patient's name was written to standard error")


def _try(read: Callable[[], Any]) -> Any:
    """What `read` gives; None where it says no, in one printable line without the patient's name."""
    try:
        return read()
    except _EXPECTED as error:
        told = str(error)
    if MARKER in told:
        raise Violation("a patient's name is told")
    if not told.isprintable():
        raise Violation(f"a reason is not one printable line: {told[:200]!r}")
    return None
