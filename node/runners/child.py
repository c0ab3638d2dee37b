"""The model process: holds the pipelines and their models warm, runs one request after another, writes the results
into the spool. It is the only process of the node that imports torch."""

from __future__ import annotations

import dataclasses
import errno
import functools
import gc
import hashlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

from models.errors import BadModel, OutOfMemory
from node import __version__, faults, logs, processes, variants
from node.config import Config
from node.errors import ConfigError
from node.runners.base import Ahead, GoldenSet, Outcome, Request
from node.runners.meter import Meter, cause_of
from node.runners.ready import Ready
from node.runners.record import made_with, software
from node.spool import Spool
from node.spreading import spread_over_processes
from node.store.nouns import JobResult, NewOutput, OutputFile
from pipelines import golden_run, headers
from pipelines.base import InvalidOutput, Made, Pipeline, Released, Unsuitable, decline, execute, maker_of
from pipelines.features import Features
from pipelines.golden import Measured
from pipelines.outputs.identity import Maker
from pipelines.refusals import kind_of
from pipelines.study import UNREADABLE, NotAStudy, OutOfReach, Replaced, Study

log = logs.get(__name__)
# The disk is at fault and not the job: it is full, or the file system of the spool is gone.
_OF_SUITABILITY = ("completeness.suitable", "completeness.why")  # not known of a job that broke
_NO_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE)


def main(pipe: Connection, config: Config, names: tuple[str, ...]) -> None:
    """Warm up, say so, then answer requests until the pipe closes."""
    parent = multiprocessing.parent_process()
    processes.end_with_parent(None if parent is None else parent.pid)
    processes.first_to_go()
    processes.limit_memory(config.work.memory_limit)
    processes.keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor says when to end
    logs.set_up(config.node.log_level, config.node.log_json, "models")
    try:
        warm = {name: _warm(name, config) for name in names}
        pipelines = variants.Loaded({name: one for name, (one, _) in warm.items()}, lambda name: _warm(name, config)[0])
    except Exception as error:  # noqa: BLE001  whatever stops the warm-up stops the start, with its reason
        log.error("warm-up failed", error=type(error).__name__, where=logs.where(error))
        pipe.send(("broken", _told(error)))
        return
    # What the libraries and the models hold stays: without it each pass of the garbage collector takes a tenth.
    gc.collect()
    gc.freeze()
    pipe.send(("ready", tuple(measured for _, measured in warm.values())))
    ready, record = Ready(), functools.cache(lambda digest: made_with(digest, config))
    while True:
        try:
            wanted: Request | Ahead | GoldenSet = pipe.recv()
        except EOFError:
            return
        if isinstance(wanted, Ahead):
            ready.read(wanted, pipelines)
        elif isinstance(wanted, GoldenSet):  # what breaks on its own example ends this process: node.golden tells it
            pipe.send(tuple(_golden(name, pipeline, config) for name, pipeline in pipelines.items()))
        else:
            faults.point("models.asked")
            pipe.send(_ask(pipelines, wanted, ready, record))
            faults.point("models.answered")
            ready.forget()  # such as the pixels of a study whose job was skipped


def _ask(
    pipelines: variants.Loaded, request: Request, ready: Ready, record: Callable[[str], Mapping[str, Any]]
) -> Outcome:
    try:
        pipeline = pipelines[request.variant or request.pipeline]
    except (BadModel, ConfigError) as error:  # a version that was made live since the start, and is not as it was then
        return Outcome("held", str(error))
    return answer(pipeline, request, ready, record(pipeline.model["digest"]))


def answer(pipeline: Pipeline, request: Request, ready: Ready, made: Mapping[str, Any]) -> Outcome:
    """Run one request to its outcome, with what monitoring watches of it and what the log keeps of it. `made`: see
    node.runners.record."""
    meter = Meter()
    outcome = _answer(pipeline, request, ready)
    result, record = outcome.result, {**made, **meter.record()}
    if result is None:
        known = {"model": _made_by(pipeline), "record": record, "timings": {"all": meter.seconds()}}
        return replace(outcome, features={**outcome.features, **meter.features({})}, known=known)
    features = {**result.features, **meter.features(result.timings)}
    return replace(outcome, result=replace(result, features=features, record={**record, **result.record}))


def _made_by(pipeline: Pipeline) -> dict[str, str]:
    return {**pipeline.model, "pipeline_version": pipeline.version}


def _answer(pipeline: Pipeline, request: Request, ready: Ready) -> Outcome:
    """What goes wrong is classified here."""
    study = None
    try:
        study = ready.study(request, _replaced(request.former))
        if study.StudyInstanceUID.strip(" \0") != request.study_uid:
            # An attribute that stands twice or out of order may be read in two ways; a result belongs to one study.
            raise NotAStudy("its files do not name the study under which they came: nothing is made of it")
        try:
            return _run(pipeline, study, request, ready)
        except Unsuitable as error:
            made = _say_unsuitable(pipeline, study, error, request) if request.say_unsuitable else ()
            watched = headers.of_study(study, refused=error.reason, placed=pipeline.accepts.geometry)
            return Outcome("skipped", _told(error), made, features=watched)
    except OutOfReach as error:
        return Outcome("held" if error.errno in _NO_DISK else "retry", _told(error), cause="files")
    except NotAStudy as error:
        told = _told(error)
        unread: Features = {"completeness.suitable": 0.0, "completeness.why": kind_of(told)}
        return Outcome("skipped", told, features=unread)
    except OSError as error:
        word = "held" if error.errno in _NO_DISK else "retry"
        return Outcome(word, _told(error), features=_known(study, pipeline), cause=cause_of(error))
    except (OutOfMemory, MemoryError) as error:
        return Outcome("retry", _told(error), features=_known(study, pipeline), cause=cause_of(error))
    except Exception as error:  # noqa: BLE001  the loop's one broad except: the job fails, the models stay warm
        log.error("job broke", pipeline=pipeline.name, where=logs.where(error), error=type(error).__name__)
        return Outcome("failed", _told(error), features=_known(study, pipeline), cause=cause_of(error))


def _known(study: Study | None, pipeline: Pipeline) -> Features:
    """What headers tell of a study whose job broke; nothing where they are what it broke on."""
    if study is None:
        return {}
    try:
        found = headers.of_study(study, placed=pipeline.accepts.geometry)
    except UNREADABLE as error:
        log.debug("no features", error=type(error).__name__)
        return {}
    return {name: value for name, value in found.items() if name not in _OF_SUITABILITY}


def _run(pipeline: Pipeline, study: Study, request: Request, ready: Ready) -> Outcome:
    begun = time.perf_counter()
    maker = _maker(pipeline, request)
    series = ready.series(pipeline, study)
    former = request.former
    made_by = _made_by(pipeline)
    if former and not former["withdrawn"] and (former["series_uid"], former["input_digest"], former["model"]) == (
        series.SeriesInstanceUID, series.digest, made_by,
    ):  # fmt: skip
        reason = f"unchanged: revision {request.revision} brought nothing that {pipeline.name} reads"
        told = f"{reason}; the result of revision {former['revision']} stands"
        return Outcome("skipped", told, features={"completeness.why": "unchanged"})
    spool = Spool(request.spool)
    executed = execute(
        pipeline, study, series, maker,
        lambda released: _write(released, study.StudyInstanceUID, spool), spread_over_processes, request.forms,
    )  # fmt: skip
    outputs = _kept(executed.made, study, spool)
    timings = {**executed.timings, "all": time.perf_counter() - begun}
    result = JobResult(
        series.SeriesInstanceUID, series.digest, made_by,
        {name: round(seconds, 4) for name, seconds in timings.items()}, executed.findings, executed.features,
        executed.urgent, {"instances": len(series.instances), "pixels": executed.seen},
    )  # fmt: skip
    return Outcome("done", outputs=outputs, result=result)


def _kept(made: Sequence[Made], study: Study, spool: Spool) -> tuple[NewOutput, ...]:
    """What was made, once it is safe on the disk."""
    if made:
        spool.sync_results(study.StudyInstanceUID)
        faults.point("models.synced")
    return tuple(NewOutput(one.name, one.SeriesInstanceUID, one.SOPClassUID, one.kept, one.form) for one in made)


def _maker(pipeline: Pipeline, request: Request) -> Maker:
    """Under the job's name: what a candidate makes must never be the same objects as what goes out."""
    made = maker_of(pipeline, __version__, datetime.fromtimestamp(request.created_at, UTC))
    return dataclasses.replace(made, pipeline=request.pipeline)


def _say_unsuitable(pipeline: Pipeline, study: Study, error: Unsuitable, request: Request) -> tuple[NewOutput, ...]:
    maker = _maker(pipeline, request)
    spool = Spool(request.spool)
    made = decline(study, maker, error, lambda one: _write(one, study.StudyInstanceUID, spool), request.forms)
    return _kept(made, study, spool)


def _warm(name: str, config: Config) -> tuple[Pipeline, Measured]:
    pipeline = variants.load(name, config)
    begun = time.perf_counter()
    faults.point("models.warming")
    measured = _golden(name, pipeline, config)
    log.info("warm", pipeline=name, seconds=round(time.perf_counter() - begun, 2), **pipeline.model)
    return pipeline, measured


def _golden(name: str, pipeline: Pipeline, config: Config) -> Measured:
    return golden_run.run(pipeline, software(config.work.device), datetime.now(UTC), variant=name)


def _write(released: Released, study_uid: str, spool: Spool) -> OutputFile:
    faults.point("models.made")
    hashed = hashlib.sha256()
    for part in released.parts:
        hashed.update(part)
    digest = hashed.hexdigest()
    path = spool.put_result(released.parts, study_uid, released.SOPInstanceUID, digest)
    return OutputFile(released.SOPInstanceUID, path, digest, sum(map(len, released.parts)))


def _replaced(former: Mapping[str, Any] | None) -> tuple[Replaced, ...]:
    if former is None:
        return ()
    return tuple(
        Replaced(output["name"], output["sop_class"], uid, output["series_uid"])
        for output in former["outputs"]
        for uid in output["sop_uids"]
    )


def _told(error: BaseException) -> str:
    # Foreign exceptions may quote what they choked on, which may be patient data: only our own texts are passed on.
    if isinstance(error, Unsuitable | NotAStudy | InvalidOutput | BadModel | OutOfMemory | ConfigError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"out of memory at {logs.where(error)}"
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error.strerror or 'input/output error'}"
    return f"{type(error).__name__} at {logs.where(error)}"
