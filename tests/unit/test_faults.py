"""Fault points: nothing without the environment variable, one death for each arming with it, and a row for each."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from node import app, faults

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for path in sorted((ROOT / "node").rglob("*.py")) if path.name != "faults.py"]


def _run(code: str, folder: Path | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != faults.VARIABLE}
    if folder is not None:
        environment[faults.VARIABLE] = str(folder)
    command = [sys.executable, "-c", f"from node import faults\n{code}"]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_point_does_nothing_in_a_process_that_was_started_without_the_variable(tmp_path: Path) -> None:
    (tmp_path / "send.sent").write_text("kill")
    late = f"import os; os.environ[{faults.VARIABLE!r}] = {str(tmp_path)!r}\n"
    done = _run(late + "faults.point('send.sent'); print(faults.armed())", None)
    assert (done.returncode, done.stdout) == (0, "False\n")
    assert (tmp_path / "send.sent").exists()


def test_an_armed_point_kills_whoever_reaches_it_and_is_armed_no_more(tmp_path: Path) -> None:
    (tmp_path / "send.sent").write_text("kill")
    code = "faults.point('send.answered'); print('here', flush=True); faults.point('send.sent'); print('not here')"
    done = _run(code, tmp_path)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "here\n")
    assert not list(tmp_path.iterdir())
    assert _run(code, tmp_path).returncode == 0


def test_it_counts_passings_over_all_processes(tmp_path: Path) -> None:
    (tmp_path / "send.sent").write_text("kill@4")
    code = "for number in range(3): faults.point('send.sent'); print(number, flush=True)"
    assert _run(code, tmp_path).stdout == "0\n1\n2\n"
    assert (tmp_path / "send.sent").read_text() == "kill@1"
    done = _run(code, tmp_path)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def _calls() -> Counter[str]:
    found: Counter[str] = Counter()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "faults.point":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: the name is not plain text"
                found[str(node.args[0].value)] += 1
    return found


def test_every_point_stands_at_one_place_of_the_node_and_every_place_is_known() -> None:
    assert _calls() == Counter(dict.fromkeys(faults.POINTS, 1))


@pytest.mark.parametrize("point", faults.POINTS)
def test_every_point_stands_in_the_docs_with_what_it_promises(point: str) -> None:
    assert point.partition(".")[0] in {"node", "models", "review", "keep", *app.LOOPS}
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `{re.escape(point)}` \| {re.escape(faults.POINTS[point])} \|$", text, re.MULTILINE)
