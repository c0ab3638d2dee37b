"""What comes back from those who read the studies, through a real node: a report and key objects by DCMTK's storescu, and
an HL7 message; they become labels and a review, and nothing runs again."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from tests.conftest import missing
from tests.nodes import RunningNode, wait_until
from tests.peers import free_port
from tests.reported import EFFUSION, FINDING, REJECTED, document, item, key_objects
from tests.senders import write
from tests.unit.test_hl7 import OBR, message
from tests.versions import Place

ORTHANC = 'ae-title = "ORTHANC"\nhost = "127.0.0.1"\nport = 104\nmay = ["echo", "store"'


def events(node: RunningNode, uid: str, type_: str) -> list[dict[str, Any]]:
    return [dict(event.body) for event in node.queries.events(f"study/{uid}") if event.type == type_]


def store_by_dcmtk(node: RunningNode, folder: Path) -> None:
    command = ["storescu", "-aet", "ORTHANC", "-aec", "OVERREAD", "+sd", "127.0.0.1", str(node.port), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_reports_and_key_objects_come_back_through_a_real_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("storescu") is None:
        missing("dcmtk", "storescu is not installed")
    hl7 = free_port()
    changes = {
        ORTHANC: ORTHANC + ', "label", "review"',
        "[work]": f'[hl7]\nport = {hl7}\npeers = ["127.0.0.1"]\nfindings = {{ PTX = "pneumothorax" }}\n'
                  '[documents]\nfindings = { "60046008^SCT" = "effusion" }\n[work]',
    }  # fmt: skip
    uid, place = "1.2.7", Place(tmp_path / "place", monkeypatch)
    with place.node(changes=changes) as (node, _):
        place.send(node, uid)
        settled = node.wait_settled(uid)
        report = next(o for o in settled["jobs"][0]["outputs"] if o["name"] == "report")["files"][0]["sop_uid"]
        write(tmp_path / "back", document(item("CODE", FINDING, EFFUSION), study=uid, uid=f"{uid}.88"))
        write(tmp_path / "back", key_objects(REJECTED, report, study=uid, uid=f"{uid}.59"))
        assert dcmread(next((tmp_path / "back").iterdir())).StudyInstanceUID == uid
        store_by_dcmtk(node, tmp_path / "back")
        wait_until(lambda: len(events(node, uid, "document.read")) == 2, 30, "both documents are read")
        with socket.create_connection(("127.0.0.1", hl7), 10) as caller:
            caller.sendall(b"\x0b" + message(OBR, "OBX|1|CE|PTX||N||||||F", f"ZDS|{uid}") + b"\x1c\r")
            assert b"MSA|AA|M1|" in caller.recv(4096)
        assert [(one["finding"], one["value"], one["source"]) for one in events(node, uid, "label.added")] == [
            ("effusion", True, "sr"), ("pneumothorax", False, "hl7")]  # fmt: skip
        read = sorted((one["labels"], one["reviews"]) for one in events(node, uid, "document.read"))
        assert read == [(0, 1), (1, 0)]
        after = node.study(uid)
        assert after is not None and (after["revision"], after["state"], len(after["jobs"])) == (1, "ready", 1)
        assert events(node, uid, "study.reopened") == [] and node.queries.verify()[1] is None
        log = node.log.read_text()
        assert "SECRET" not in log and "Secret" not in log and "A77" not in log
