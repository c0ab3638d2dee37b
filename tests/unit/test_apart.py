"""Decoders that die, hang or lie do so in a process of their own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from pipelines import apart
from pipelines.apart import Decoder, DecoderFailed
from pipelines.base import Unsuitable
from pipelines.volume import Volume
from tests import builders

SIZE = 32 * 30


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch):
    made = Decoder()
    monkeypatch.setattr(apart, "decoder", made)
    yield made
    made.stop()


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return builders.compressed(builders.axial(tmp_path, builders.voxels((3, 32, 30))), JPEGLosslessSV1)


def instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have `code` run in place of the decoder."""
    real = apart.subprocess.Popen

    def start(command, **arguments):  # type: ignore[no-untyped-def]
        return real([sys.executable, "-c", code], **arguments)

    monkeypatch.setattr(apart.subprocess, "Popen", start)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless])
def test_pixels_come_through_unchanged_from_another_process(syntax: str, decoder: Decoder, tmp_path: Path) -> None:
    hu = builders.voxels((3, 32, 30))
    volume = Volume.from_series(builders.series_of(builders.compressed(builders.axial(tmp_path, hu), syntax)))
    assert np.array_equal(volume.voxels, hu)
    assert decoder._process is not None and decoder._process.poll() is None


def test_one_process_serves_many_images(decoder: Decoder, paths: list[Path]) -> None:
    found = [list(decoder.frames(path, JPEGLosslessSV1, "gdcm", [0], SIZE)) for path in paths]
    pid = decoder._process.pid  # type: ignore[union-attr]
    assert [one.shape for (one,) in found] == [(32, 30)] * 3
    assert list(decoder.frames(paths[0], JPEGLosslessSV1, "gdcm", [0], SIZE)) and decoder._process.pid == pid  # type: ignore[union-attr]


def test_a_decoder_that_is_killed_costs_its_image_and_the_next_one_is_decoded(
    decoder: Decoder, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as changed:
        instead(changed, f"import os; input(); os.kill(os.getpid(), {int(signal.SIGSEGV)})")
        with pytest.raises(Unsuitable, match=r"ended its decoder \(exit code -11\)"):
            Volume.from_series(builders.series_of(paths))
    assert Volume.from_series(builders.series_of(paths)).voxels.shape == (3, 32, 30)


def test_a_decoder_that_hangs_is_ended(decoder: Decoder, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(apart, "SECONDS", 0.5)
    with pytest.raises(DecoderFailed, match="no end after"):
        list(decoder.frames(paths[0], JPEGLosslessSV1, "gdcm", [0], SIZE))
    assert decoder._process is None


def test_a_decoder_that_computes_for_too_long_is_ended_by_the_processors_time(decoder: Decoder, tmp_path: Path) -> None:
    """CharLS takes some 8 s for these 32 x 32 pixels, which are not looked at before."""
    path = builders.compressed(builders.axial(tmp_path, builders.voxels((3, 32, 32)) // 2), JPEGLSLossless)[2]
    content = path.read_bytes()
    at = content.rindex(b"\xff\xd8\xff\xf7") + 211
    path.write_bytes((content[:at] + b"\xb2\xb2" + content[at:]).replace(b"\xff\xd9", b"", 1))
    before = os.times()
    with pytest.raises(DecoderFailed, match="no end within the processor's time"):
        list(decoder.frames(path, JPEGLSLossless, "pyjpegls", [0], 32 * 32))
    after = os.times()
    assert after.children_user - before.children_user < 6, "the start of the process and little more"
    assert decoder._process is None


@pytest.mark.parametrize("answer", [b"\xff\xff\xff\xff", b"\x02\0\0\0{}", b"\x02\0\0\0xx",
                                    b'\x28\0\0\0{"kind": "|u1", "shape": [60000, 60000]}'])  # fmt: skip
def test_an_answer_that_is_none_is_not_believed(
    answer: bytes, decoder: Decoder, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, f"import sys, time; sys.stdout.buffer.write({answer!r}); sys.stdout.flush(); time.sleep(60)")
    with pytest.raises(Unsuitable, match="cannot be decoded"):
        Volume.from_series(builders.series_of(paths))
    assert decoder._process is None, "what it still says would be taken for the next answer"


def test_what_a_decoder_says_of_damage_is_passed_on_without_the_files_bytes(decoder: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "none.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + b"SECRET" * 20)
    with pytest.raises(DecoderFailed) as caught:
        list(decoder.frames(path, JPEGLosslessSV1, "gdcm", [0], SIZE))
    assert "SECRET" not in str(caught.value)


def test_the_decoder_ends_with_whoever_started_it(tmp_path: Path, paths: list[Path]) -> None:
    code = (f"from pathlib import Path; from pipelines import apart; list(apart.decoder.frames(Path({str(paths[0])!r}), "
            f"{str(JPEGLosslessSV1)!r}, 'gdcm', [0], {SIZE})); print(apart.decoder._process.pid, flush=True); "
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")  # fmt: skip
    run = apart.subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    pid = int(run.stdout)
    try:
        psutil.Process(pid).wait(20)
    except psutil.NoSuchProcess:
        return
    assert not psutil.pid_exists(pid)
