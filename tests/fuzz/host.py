"""A process that gives inputs to one target, and a parent that watches it: it may hang, grow, or die."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from tests.fuzz.target import Input, Target, Violation

HANG = 5.0  # seconds that one input may take
_OPEN = 120.0  # seconds that a target may take to get ready, and to look at what is left
_LOOK_EVERY = 50  # inputs between two looks at the memory
_WARM = 400  # inputs after which memory counts: what is loaded late has been loaded
NOW, BEGAN, COMPUTED, TAKEN, REFUSED, SLOWEST, SLOWEST_AT, BASE, GROWTH, PEAK = PLACES = range(10)  # on the board


@dataclass
class Failure:
    """One input that broke a promise."""

    index: int
    what: str


@dataclass
class Tally:
    """What became of the inputs of one target."""

    name: str
    inputs: int = 0
    taken: int = 0
    refused: int = 0
    slowest: float = 0.0  # seconds
    slowest_at: int = 0
    growth: float = 0.0  # MB
    peak: float = 0.0  # MB
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)


def input_of(target: Target, seed: str, index: int) -> Input:
    """The input with this number."""
    return target.make(random.Random(f"{seed}/{target.name}/{index}"))


def campaign(
    make: Callable[[], Target], name: str, seed: str, first: int, count: int, growth: float,
    until: float = float("inf"), patience: float = 1.0, tell: Callable[[Failure], None] = lambda failure: None,
    most_failures: int = 20,
) -> Tally:  # fmt: skip
    """Give `count` inputs from number `first` on, in as many processes one after another as it takes.

    `growth`: MB that the memory may grow; `until`: time.monotonic() at which no more are begun; `patience`: how many
    times as long as HANG an input may take by the clock on a machine with much else to do, though no longer of the
    processor's time; `tell`: is told of each failure at once.
    """
    tally, at, begun = Tally(name), first, time.monotonic()
    while at < first + count and len(tally.failures) < most_failures and time.monotonic() < until:
        known = len(tally.failures)
        at = _one_process(make, tally, seed, at, first + count - at, until, patience)
        for failure in tally.failures[known:]:
            tell(failure)
    tally.seconds = time.monotonic() - begun
    if tally.growth > growth:
        tally.failures.append(Failure(at - 1, f"memory grew by {tally.growth:.0f} MB, at most {growth:g} are allowed"))
    return tally


def _one_process(
    make: Callable[[], Target], tally: Tally, seed: str, first: int, count: int, until: float, patience: float
) -> int:
    """Run until all inputs are given or the process is lost; the number of the next input."""
    context = multiprocessing.get_context("spawn")
    board = context.Array(ctypes.c_double, len(PLACES), lock=False)
    board[NOW] = first
    board[BEGAN] = time.monotonic() + _OPEN * patience
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_host, args=(make, board, theirs, seed, first, count, until, patience))
    process.start()
    theirs.close()
    what, ended = "", False
    while process.is_alive() or ours.poll():
        if ours.poll(0.2):
            try:
                word, index, told = ours.recv()
            except EOFError:
                break
            if word == "end":
                ended = True
            else:
                tally.failures.append(Failure(index, told))
        elif _hangs(process.pid, board, patience):
            what = f"no end after {HANG:g} s"
            process.kill()
            break
    process.join()
    now = int(board[NOW])
    if not ended and not what:
        code = process.exitcode or 0
        what = f"the process ended by {signal.Signals(-code).name}" if code < 0 else f"the process ended with {code}"
    if what:
        tally.failures.append(Failure(now, what))
        now += 1
    tally.inputs += now - first
    tally.taken += int(board[TAKEN])
    tally.refused += int(board[REFUSED])
    tally.growth, tally.peak = max(tally.growth, board[GROWTH]), max(tally.peak, board[PEAK])
    if board[SLOWEST] > tally.slowest:
        tally.slowest, tally.slowest_at = board[SLOWEST], int(board[SLOWEST_AT])
    return now


def _hangs(pid: int | None, board: Any, patience: float) -> bool:
    """Whether the process has been at one input for too long, by the clock or by the processor's time."""
    by_clock = time.monotonic() - board[BEGAN]
    if by_clock <= HANG + 1:
        return False
    try:
        spent = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return False  # it ended, which is told otherwise
    return bool(by_clock > HANG * patience + 1 or spent.user + spent.system - board[COMPUTED] > HANG + 1)


def _host(
    make: Callable[[], Target], board: Any, pipe: Connection, seed: str, first: int, count: int, until: float,
    patience: float,
) -> None:  # fmt: skip
    target = make()
    target.patience = patience
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        target.open(Path(folder))
        for index in range(first, first + count):
            if time.monotonic() > until:
                break
            _give(target, board, pipe, seed, index, HANG * patience)
            if (index - first) % _LOOK_EVERY == 0:
                _look_at_memory(target, board, index - first)
        board[BEGAN] = time.monotonic() + _OPEN * patience
        try:
            target.close()
        except Violation as error:
            pipe.send(("failure", int(board[NOW]) - 1, str(error)))
    pipe.send(("end", 0, ""))


def _give(target: Target, board: Any, pipe: Connection, seed: str, index: int, longest: float) -> None:
    one = input_of(target, seed, index)
    begun = time.monotonic()
    board[NOW], board[COMPUTED], board[BEGAN] = index, time.process_time(), begun
    try:
        with _peak(board, target.peak):
            word = target.give(one)
        board[TAKEN if word == "taken" else REFUSED] += 1
    except Exception as error:  # noqa: BLE001  whatever comes out is what we look for
        pipe.send(("failure", index, _told(error)))
    took = time.monotonic() - begun
    if took > board[SLOWEST]:
        board[SLOWEST], board[SLOWEST_AT] = took, index
    computed = time.process_time() - board[COMPUTED]
    if took > longest or computed > HANG:
        pipe.send(("failure", index, f"it took {took:.1f} s, at most {HANG:g} are allowed"))
    board[NOW], board[COMPUTED], board[BEGAN] = index + 1, time.process_time(), time.monotonic()


def _told(error: Exception) -> str:
    if isinstance(error, Violation):
        return str(error)
    places, at = [], error.__traceback__
    while at is not None:
        places.append(f"{Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}")
        at = at.tb_next
    return f"{type(error).__name__}: {str(error)[:200]} at {' > '.join(places[-5:])}"


def _look_at_memory(target: Target, board: Any, given: int) -> None:
    gc.collect()
    now = target.memory()
    if given < _WARM or not board[BASE]:
        board[BASE] = now
    board[GROWTH] = max(board[GROWTH], now - board[BASE])


@contextlib.contextmanager
def _peak(board: Any, most: float) -> Iterator[None]:
    """Measure how far this process grows for a moment, where Linux tells (proc(5), clear_refs)."""
    before = _reset_peak()
    yield
    taken = _megabytes("VmHWM") - before
    board[PEAK] = max(board[PEAK], taken)
    if taken > most:
        raise Violation(f"it took {taken:.0f} MB for a moment, at most {most:g} are allowed")


def _reset_peak() -> float:
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return _megabytes("VmRSS")


def _megabytes(name: str, pid: int | str = "self") -> float:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return 0.0


def resident(pid: int | str = "self") -> float:
    """MB that a process holds."""
    return _megabytes("VmRSS", pid)
