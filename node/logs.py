"""Logging: one line per fact on standard error, as text for people or JSON for machines; never patient data."""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
import warnings
from pathlib import Path

import structlog


def set_up(level: str = "info", as_json: bool = False, loop: str | None = None) -> None:
    """Configure structlog for this process. `loop` names the process (receive, close, ...) in every line."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=_StandardError,
    )
    for library in ("pydicom", "pynetdicom", "highdicom"):
        # What these warn of quotes attribute values, and those may be patient data; our own checks tell what matters.
        logging.getLogger(library).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=rf"{library}(\..*)?")
    structlog.contextvars.clear_contextvars()
    if loop is not None:
        structlog.contextvars.bind_contextvars(loop=loop)


class _StandardError:
    """Prints lines to whatever standard error is now. One that is gone (a closed terminal, a log daemon that
    restarts) stops nothing: the record of what happened is the audit log, and work goes on without the line."""

    def __init__(self, *_: object) -> None:
        """structlog passes what its get_logger got."""

    def msg(self, line: str) -> None:
        """Write one line and flush it."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = exception = msg


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that carries the module's name."""
    return structlog.get_logger(module=name)


def where(error: BaseException) -> str:
    """Where an unexpected error was raised, as `module.py:line` of the last few frames.

    Loops log this instead of a traceback: the text of a foreign exception may quote what it choked on, and that may
    be patient data.
    """
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames) or "?"
