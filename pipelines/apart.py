"""Decoders written in C, in a process of their own: some end the process on a damaged image, and that process would be
the one that holds the models. It is started when the first compressed image comes, and again after it has died."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

SECONDS = 120.0  # that the frames of one instance may take
# Of a processor's time, one frame may take a second and so many more: ten times what decoders need, and far less than
# some spend on a damaged image (CharLS: 8 s on 32 x 32 pixels).
_FRAME_SECONDS, _PIXELS_A_SECOND = 1.0, 1_000_000
_KINDS = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4")
_LONGEST_HEAD = 4096  # bytes
_AT_ONCE = 2**25  # pixels that are decoded before the first of them is used


class DecoderFailed(RuntimeError):
    """The pixel data cannot be decoded; the text is one line that holds no value of the file."""


class Decoder:
    """The other process, which answers one request at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def frames(self, path: Path, syntax: str, plugin: str, indices: Sequence[int], size: int) -> Iterator[np.ndarray]:
        """The stored values of some frames (indices from 0) of a file, each of `size` pixels, decoded by a `plugin`
        of pydicom's, some at a time. Raises DecoderFailed, and OSError where the process cannot be started."""
        at_once = max(1, _AT_ONCE // size)
        for start in range(0, len(indices), at_once):
            yield from self._some(path, syntax, plugin, indices[start : start + at_once], size)

    def _some(self, path: Path, syntax: str, plugin: str, indices: Sequence[int], size: int) -> list[np.ndarray]:
        asked = {"path": str(path), "syntax": syntax, "plugin": plugin, "indices": list(indices), "size": size}
        with self._lock:
            deadline = time.monotonic() + SECONDS
            process = self._started()
            try:
                assert process.stdin is not None
                process.stdin.write(json.dumps(asked).encode() + b"\n")
                process.stdin.flush()
                return [self._frame(process, size, deadline) for _ in indices]
            except OSError as error:
                raise DecoderFailed(self._how_it_ended()) from error
            except DecoderFailed:
                raise
            except BaseException:
                self.stop()  # whatever it still says would be taken for the next answer
                raise

    def stop(self) -> None:
        """End the process, if there is one of ours."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.stop()
            # What the decoders write to standard error is theirs; what matters of it comes as an answer.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.apart"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self._owner = os.getpid()
        return self._process

    def _frame(self, process: subprocess.Popen[bytes], size: int, deadline: float) -> np.ndarray:
        (length,) = struct.unpack("<L", self._read(process, 4, deadline))
        if length > _LONGEST_HEAD:
            raise OSError("not an answer")
        head = json.loads(self._read(process, length, deadline))
        if "error" in head:
            raise DecoderFailed(str(head["error"]))
        kind, shape = str(head["kind"]), tuple(map(int, head["shape"]))
        if kind not in _KINDS or len(shape) != 2 or math.prod(shape) != size:
            self.stop()
            raise DecoderFailed(f"it decodes to an array {shape} of {kind[:8]!r}")
        return np.frombuffer(self._read(process, math.prod(shape) * int(kind[2]), deadline), kind).reshape(shape)

    def _read(self, process: subprocess.Popen[bytes], count: int, deadline: float) -> bytearray:
        assert process.stdout is not None
        descriptor, content = process.stdout.fileno(), bytearray()
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while len(content) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not waiting.poll(left * 1000):
                self.stop()
                raise DecoderFailed(f"its decoder had no end after {SECONDS:g} s")
            more = os.read(descriptor, min(count - len(content), 1 << 20))
            if not more:
                raise OSError("the decoder is gone")
            content += more
        return content

    def _how_it_ended(self) -> str:
        process = self._process
        if process is None:
            return "it ended its decoder"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        code = process.returncode
        self.stop()
        if code == -signal.SIGPROF:
            return "its decoder had no end within the processor's time for a frame of its size"
        return f"it ended its decoder (exit code {code})"


decoder = Decoder()
"""The one of this process."""
atexit.register(decoder.stop)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    for line in requests:
        signal.alarm(2 * int(SECONDS))  # who asked may be gone, and nobody would end what hangs
        asked = json.loads(line)
        try:
            for array in _decoded(asked):
                plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                head = json.dumps({"kind": plain.dtype.str.replace("=", "<"), "shape": plain.shape}).encode()
                answers.write(struct.pack("<L", len(head)) + head)
                answers.write(plain.data)
        except Exception as error:  # noqa: BLE001  whatever a decoder raises is the answer
            head = json.dumps({"error": brief(error)}).encode()
            answers.write(struct.pack("<L", len(head)) + head)
        answers.flush()
        signal.alarm(0)


def brief(error: Exception) -> str:
    """What the decoders say; of other errors the kind alone, for pydicom quotes the bytes that it cannot read."""
    if isinstance(error, RuntimeError | NotImplementedError):
        return " ".join(f"{type(error).__name__}: {error}".split())[:160]
    return type(error).__name__


_read: dict[tuple[str, int, int], Any] = {}  # the last dataset: of many frames, some are asked for at a time


def _decoded(asked: dict[str, Any]) -> Iterator[np.ndarray]:
    """The frames that are asked for. SIGPROF ends the process, even in a decoder, where one takes too long."""
    import pydicom
    from pydicom.pixels import get_decoder

    found = os.stat(asked["path"])
    key = asked["path"], found.st_mtime_ns, found.st_size
    if key not in _read:
        _read.clear()
        _read[key] = pydicom.dcmread(asked["path"], force=True)
    dataset = _read[key]
    if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:
        dataset.ensure_file_meta()
        dataset.file_meta.TransferSyntaxUID = asked["syntax"]
    decode = get_decoder(asked["syntax"])
    frames = decode.iter_array(dataset, raw=True, indices=asked["indices"], decoding_plugin=asked["plugin"])
    for _ in asked["indices"]:
        signal.setitimer(signal.ITIMER_PROF, _FRAME_SECONDS + asked["size"] / _PIXELS_A_SECOND)
        try:
            array, _ = next(frames)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        yield array


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
