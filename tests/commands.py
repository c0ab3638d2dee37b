"""`overread` in the process of the test: what a command prints and how it ends, without a new interpreter's seconds."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from node import cli


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def overread(*words: str | Path, cwd: Path | None = None) -> Done:
    """`overread WORDS` in the folder `cwd`. What is no error of ours is raised here: it would be a traceback there. Not
    for commands that mind signals or processes of their own, such as `serve`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as around:
        if cwd is not None:
            around.enter_context(contextlib.chdir(cwd))
        around.enter_context(mock.patch("sys.argv", ["overread", *map(str, words)]))
        around.enter_context(contextlib.redirect_stdout(out))
        around.enter_context(contextlib.redirect_stderr(err))
        try:
            cli.main()
        except SystemExit as ended:
            assert isinstance(ended.code, int), ended.code
            return Done(ended.code, out.getvalue(), err.getvalue())
    raise AssertionError("a command ends with an exit code")
