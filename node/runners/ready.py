"""A study that the model process read before its job came: headers, and the pixels of the series that will be run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from node import logs
from node.runners.base import Ahead, Request
from pipelines.base import Pipeline
from pipelines.study import Replaced, Series, Study
from pipelines.volume import Volume

log = logs.get(__name__)
MOST = 2**30  # bytes of pixels that are read ahead of need


class Ready:
    """At most one study, the one that was asked for last."""

    def __init__(self) -> None:
        self._files: Mapping[str, str] = {}
        self._study: Study | None = None
        self._chosen: dict[str, Series] = {}

    def read(self, ahead: Ahead, pipelines: Mapping[str, Pipeline]) -> None:
        """Read what `ahead` names. What cannot be read is left to the job, which says why."""
        self.forget()
        try:
            self._files, self._study = ahead.files, _read(ahead.files)
            for name in ahead.pipelines:
                self._chosen[name] = series = pipelines[name].select(self._study)
                if _size(series) <= MOST:
                    Volume.read_ahead(series)
                    break  # one volume is held, for the pipeline that is first
        except Exception as error:  # noqa: BLE001  the job meets the same fault, and there it is classified and told
            log.debug("not read ahead", error=type(error).__name__)

    def study(self, request: Request, replaces: tuple[Replaced, ...]) -> Study:
        """The study of a request: the one that is ready where it has the same files with the same content, or else
        read now. Raises NotAStudy."""
        held, self._study = self._study, None
        if held is None or dict(self._files) != dict(request.files):
            held, self._chosen = _read(request.files), {}
        return dataclasses.replace(held, revision=request.revision, replaces=replaces)

    def forget(self) -> None:
        """Give back the memory of what no job asked for."""
        self._study, self._chosen = None, {}
        Volume.forget_ahead()

    def series(self, pipeline: Pipeline, study: Study) -> Series:
        """The series that a pipeline reads of the study that `study` gave last. Raises Unsuitable."""
        return self._chosen.pop(pipeline.name, None) or pipeline.select(study)


def _read(files: Mapping[str, str]) -> Study:
    return Study.from_files({Path(path): digest for path, digest in files.items()})


def _size(series: Series) -> int:
    """Bytes of the volume of a series, as its headers tell."""
    each = int(series.get("Rows", 0)) * int(series.get("Columns", 0)) * 4
    return each * sum(int(one.get("NumberOfFrames", 1)) for one in series.instances)
