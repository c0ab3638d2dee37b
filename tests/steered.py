"""A runner that the test steers, and how a job may end."""

from __future__ import annotations

from concurrent.futures import Future

from node.runners.base import Outcome, Request, RunnerDied
from node.store import JobResult, NewOutput, OutputFile


class Steered:
    """A runner whose jobs end as the test says; `None` hangs until it is killed."""

    def __init__(self) -> None:
        self.ends: list[Outcome | Exception | None] = []
        self.requests: list[Request] = []
        self.killed: list[str] = []
        self._hanging: Future[Outcome] | None = None

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def run(self, request: Request) -> Future[Outcome]:
        self.requests.append(request)
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            future.set_exception(end)
        elif end is None:
            self._hanging = future
        else:
            future.set_result(end)
        return future

    def kill(self, reason: str) -> None:
        self.killed.append(reason)
        if self._hanging is not None:
            self._hanging.set_exception(RunnerDied(reason))
            self._hanging = None


DONE = Outcome("done", outputs=(NewOutput("report", "1.9", "1.2", (OutputFile("1.9.1", "results/a", "d", 1),)),),
               result=JobResult("1.2.3.1", "digest", {"name": "m"}, {}, {}))  # fmt: skip
