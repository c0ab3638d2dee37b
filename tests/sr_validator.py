"""PixelMed's DicomSRValidator, started once: a process that reads paths and answers each with what the validator says.

Its style sheets take a quarter of a minute to load, and a report four seconds: a new Java for each would be most of the
tests' time. `python -m tests.sr_validator CLASSPATH`: a path a line in, a JSON list of lines out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

_STACK = 1 << 28  # bytes: the style sheets call themselves deeply
_LIMITS = (("TotalOp", 2_000_000_000), ("ExprOp", 100_000_000), ("ExprGrp", 100_000_000))  # for Java 17 and later


def ask(jars: tuple[str, ...], path: str) -> list[str]:
    """The lines that the validator prints for a file. Raises AssertionError when it ends instead."""
    process = _started(jars)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    said = process.stdout.readline()
    if not said:
        raise AssertionError(f"DicomSRValidator ended with {process.wait(10)} at {path}")
    return list(json.loads(said))


@cache
def _started(jars: tuple[str, ...]) -> subprocess.Popen[str]:
    """It ends when this process does, for then its input is closed."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sr_validator", ":".join(jars)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def main() -> None:
    """Answer until the input is closed."""
    import jpype

    limits = [f"-Djdk.xml.xpath{name}Limit={value}" for name, value in _LIMITS]
    jpype.startJVM("-Djava.awt.headless=true", *limits, classpath=sys.argv[1].split(":"))

    @jpype.JImplements("java.lang.Runnable")
    class Work:
        @jpype.JOverride
        def run(self) -> None:
            _answer(jpype.JClass("com.pixelmed.validate.DicomSRValidator")().validate)

    thread = jpype.JClass("java.lang.Thread")(None, Work(), "validator", jpype.JLong(_STACK))
    thread.start()
    thread.join()


def _answer(validate: Callable[[str], Any]) -> None:
    for line in sys.stdin:
        print(json.dumps(str(validate(line.rstrip("\n"))).splitlines()), flush=True)


if __name__ == "__main__":
    main()
