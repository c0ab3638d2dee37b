"""/healthz: whether the node can do its work, and what is wrong where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from node.config import Config
from node.errors import TryAgain
from node.readings import Readings


class Checks:
    """What must hold for the node to be well. `disk`: size and free bytes of the spool's file system."""

    def __init__(
        self, config: Config, readings: Readings, loops: Sequence[str], disk: Callable[[], tuple[int, int]]
    ) -> None:
        self._config = config
        self._readings = readings
        self._loops = loops
        self._disk = disk

    def reasons(self) -> list[str]:
        """What is wrong, one line each; none when all is well."""
        try:
            found = [
                f"loop {name} does not run" for name, lives in self._readings.loops(self._loops).items() if not lives
            ]
        except TryAgain as error:
            found = [error.reason]
        return found + self._full()

    def _full(self) -> list[str]:
        try:
            total, free = self._disk()
        except OSError as error:
            return [f"the spool cannot be looked at ({error.strerror})"]
        mark, least = self._config.keep.high_watermark, self._config.node.min_free_disk
        if free < least:
            return [f"the disk has {free / 2**30:.1f} GiB free, less than min-free-disk: instances are refused"]
        used = 1 - free / total
        return [f"the disk is {used:.0%} full, over the high watermark of {mark:.0%}"] if used > mark else []
