"""A process of ours ends with the one that started it, also when that one was dead before we could ask to be told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.nodes import wait_until

ROOT = Path(__file__).resolve().parents[2]


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_process_whose_parent_is_there_goes_on() -> None:
    code = "import sys; from node import processes; processes.end_with_parent(int(sys.argv[1])); print('on')"
    assert _run(code, str(os.getpid())).stdout == "on\n"


def test_regression_a_parent_that_died_while_its_child_was_starting_leaves_no_orphan() -> None:
    """A supervisor that was killed while a loop was still importing left that loop running for ever: it held the
    listener's port, and no new node could start."""
    code = "import sys; from node import processes; processes.end_with_parent(int(sys.argv[1])); print('on')"
    done = _run(code, "999999999")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread looks twice a second")
def test_regression_a_loop_whose_supervisor_is_gone_before_it_runs_ends_at_once(tmp_path: Path) -> None:
    """The same with a real loop, which an intermediate process starts and leaves at once."""
    (tmp_path / "overread.toml").write_text('[node]\nhost = "127.0.0.1"\nport = 0\nplain = true\n')
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'node.app', 'close', sys.argv[1], str(os.getpid())])\n"
        "print(child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    pid = int(_run_detached(code, str(tmp_path / "overread.toml")))
    try:
        wait_until(lambda: not _alive(pid), 60, "the loop ended")
    finally:
        if _alive(pid):
            psutil.Process(pid).kill()


def _run_detached(code: str, *arguments: str) -> str:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    process.wait(30)
    process.stdout.close()
    time.sleep(0.1)
    return line


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
