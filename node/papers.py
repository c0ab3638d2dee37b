"""Where commands put a page that they made: a file, or standard output for `-`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from node import screens
from node.errors import ConfigError

HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write one HTML page there; -: to standard output.")]
STDOUT = Path("-")


def check(*wanted: Path | None, json: bool = False) -> None:
    """Raises ConfigError where more than one thing would go to standard output; before anything is made."""
    if wanted.count(STDOUT) + json > 1:
        raise ConfigError("-", "only one thing can go to standard output; name a file for the others")


def put(made: Mapping[Path, bytes]) -> None:
    """Write each page to its place, and say so. Raises ConfigError where that cannot be."""
    for path, content in made.items():
        if path == STDOUT:
            sys.stdout.buffer.write(content)
            continue
        try:
            path.write_bytes(content)
        except OSError as error:
            raise ConfigError(str(path), f"cannot be written ({error.strerror})") from error
        screens.err.print(f"wrote {path}", markup=False, soft_wrap=True)
