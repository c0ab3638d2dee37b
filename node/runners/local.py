"""The local runner: one warm child process that holds the models; when it dies, the job fails or is tried again and
a new child takes its place. The rest of the node never notices."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from node import logs
from node.config import Config
from node.runners import child
from node.runners.base import Ahead, GoldenSet, Outcome, Request, RunnerBroken, RunnerDied
from node.spool import MAKING, Spool
from pipelines.golden import Measured

log = logs.get(__name__)
_LIMIT = 300.0  # seconds for loading the models and the warm-up, and as many for a run of the golden set


def measured(config: Config, pipelines: tuple[str, ...], limit: float) -> tuple[Measured, ...]:
    """Run pipelines or variants on their examples in a model process of their own, which may stand beside that of a
    node. Raises RunnerBroken, at the latest after `limit` seconds."""
    runner = Local(config, pipelines, beside=True, limit=limit)
    try:
        runner.start()
        return runner.take_golden()
    finally:
        runner.stop()


class Local:
    """One child process for one device. Jobs run one at a time."""

    def __init__(self, config: Config, pipelines: tuple[str, ...], beside: bool = False, limit: float = _LIMIT) -> None:
        """`beside`: another runner may be making results in this spool: its files are left alone. `limit`: seconds for
        a start, and for a run of the golden set."""
        self._config = config
        self._pipelines = pipelines
        self._beside = beside
        self._limit = limit
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="runner")
        self._killed: str | None = None
        self._golden: tuple[Measured, ...] = ()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the child and wait until its models are loaded and warmed up. Raises RunnerBroken."""
        if not self._beside:
            Spool(self._config.node.spool).sweep_incoming(MAKING)  # of a former child
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=child.main, args=(theirs, self._config, self._pipelines), name="overread-models", daemon=True
        )
        self._process.start()
        theirs.close()
        if not self._pipe.poll(self._limit):
            self._end()
            raise RunnerBroken(f"the models were not ready after {self._limit:g} s")
        try:
            word, told = self._pipe.recv()
        except (EOFError, OSError) as error:
            how = self._how_it_ended()
            self._end()
            raise RunnerBroken(f"the model process died while it started ({how})") from error
        if word != "ready":
            self._end()
            raise RunnerBroken(told)
        with self._lock:
            self._golden = told

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._process.pid if self._process else None

    def prepare(self, ahead: Ahead) -> None:
        """Let the child read a study before its job comes, if there is a child."""
        self._pool.submit(self._prepare, ahead)

    def _prepare(self, ahead: Ahead) -> None:
        if self._process is not None and self._process.is_alive() and self._pipe is not None:
            with contextlib.suppress(OSError):  # a child that ends now is found, and replaced, by the next job
                self._pipe.send(ahead)

    def run(self, request: Request) -> Future[Outcome]:
        """Send the job to the child (a dead one is replaced first; until then the future is not running)."""
        future: Future[Outcome] = Future()

        def settle(done: Future[Outcome]) -> None:
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(error)

        self._pool.submit(self._run, request, future).add_done_callback(settle)
        return future

    def _run(self, request: Request, future: Future[Outcome]) -> Outcome:
        self._make_ready()
        future.set_running_or_notify_cancel()
        outcome: Outcome = self._ask(request)
        return outcome

    def _make_ready(self) -> None:
        with self._lock:
            self._killed = None
        if self._process is None or not self._process.is_alive():
            try:
                self.start()
            except RunnerBroken as error:
                if self._killed is not None:  # in the middle of it, at the end of the node
                    raise RunnerDied(self._killed) from error
                raise

    def golden(self) -> Future[tuple[Measured, ...]]:
        """Run every pipeline on its example, when the child is free. It is ended if it takes too long: jobs wait."""
        return self._pool.submit(self._run_golden)

    def _run_golden(self) -> tuple[Measured, ...]:
        self._make_ready()
        try:
            found: tuple[Measured, ...] = self._ask(GoldenSet(), self._limit)
        except RunnerDied:
            if self._killed is not None:  # by us, for another reason: nothing was measured
                return ()
            raise
        return found

    def take_golden(self) -> tuple[Measured, ...]:
        """What the warm-up made of the examples, once for each start."""
        with self._lock:
            found, self._golden = self._golden, ()
        return found

    def _ask(self, wanted: Request | GoldenSet, limit: float | None = None) -> Any:
        """The child's answer. Without a `limit` somebody else ends a child that gives none."""
        assert self._pipe is not None
        try:
            self._pipe.send(wanted)
            if not self._pipe.poll(limit):
                self._end()
                raise RunnerBroken(f"the golden set was not over after {limit:g} s; the model process was ended")
            outcome = self._pipe.recv()
        except (EOFError, OSError) as error:
            how = self._killed or self._how_it_ended()
            self._end()
            raise RunnerDied(how) from error
        return outcome

    def kill(self, reason: str) -> None:
        """End the running job at once."""
        with self._lock:
            self._killed = reason
            if self._process is not None and self._process.is_alive():
                self._process.kill()

    def stop(self) -> None:
        """End the child."""
        self._pool.shutdown(wait=False, cancel_futures=True)  # what is still to come must not start another one
        self._end()  # a thread that waits for its answer then has the end of the pipe
        if self._pipe is not None:
            self._pipe.close()
        self._pool.shutdown(wait=True)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join(10)
            self._process = None

    def _how_it_ended(self) -> str:
        if self._process is None:
            return "the model process is gone"
        self._process.join(10)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"the model process ended by {signal.Signals(-code).name}"
        return f"the model process ended with exit code {code}"
