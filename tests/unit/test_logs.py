from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import warnings

import pytest
from pydicom.dataset import Dataset

from node import logs


def test_a_line_is_json_for_machines_and_names_the_loop(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", as_json=True, loop="receive")
    logs.get("x").info("listening", port=104)
    logs.get("x").debug("not shown")
    [line] = capsys.readouterr().err.strip().splitlines()
    told = json.loads(line)
    assert (told["event"], told["loop"], told["port"], told["level"]) == ("listening", "receive", 104, "info")


def test_a_standard_error_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logs.set_up("info")
    gone = io.StringIO()
    gone.close()
    with monkeypatch.context() as here:
        here.setattr(sys, "stderr", gone)
        logs.get("x").info("listening", port=104)
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as here, open(writer, "w", buffering=1) as broken:
        here.setattr(sys, "stderr", broken)
        logs.get("x").info("listening", port=104)
        with contextlib.suppress(OSError):
            broken.close()


def test_what_libraries_warn_of_is_not_printed_since_it_may_quote_a_patient(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("debug")
    with warnings.catch_warnings():
        logging.getLogger("pydicom").warning("Invalid value for VR DA: 'Miller^Anna'")
        dataset = Dataset()
        dataset.PatientBirthDate = "1970-13-77"
        str(dataset.PatientBirthDate)
    assert "Miller" not in capsys.readouterr().err


def test_the_place_of_an_error_is_told_without_its_text() -> None:
    try:
        {}["Miller^Anna"]  # type: ignore[index]
    except KeyError as error:
        told = logs.where(error)
    assert "test_logs.py" in told and "Miller" not in told
