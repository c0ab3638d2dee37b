"""Instances a second into the node, into Orthanc and into DCMTK's storescp: same sender, same run, same bytes.

300 CT of 512 KB over loopback, on one association and spread over four, in turns, medians of the rounds. Peak resident
memory of each receiver, and of the node's listener over 3,000 instances. The node and Orthanc make every instance
durable before they answer (Orthanc its file only: SyncStorageArea, its default); storescp does not, and shows what the
sender can do. Nothing is deleted meanwhile: ext4 takes 0.4 ms longer for a new file beside some that just went.
Takes about 6 GB of temporary disk.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from node import peers
from node.sections import Peer
from tests.peers import ENVIRONMENT, listening_process, need, node_config, orthanc, storescp
from tests.senders import encode, file_head, instance

INSTANCES = 300
PIXELS = 512 * 1024  # bytes
ROUNDS = 3
LONG_RUN = 3000  # instances

Send = Callable[[list[Path], int, str], None]
"""(folders, one association each; port; called AE title)"""


def run() -> dict[str, Any]:
    """Measure; rates in instances/s, memory in MiB. What is not installed is left out, with the reason."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        top = Path(name)
        send, sender = _sender(top)
        receivers: dict[str, tuple[int, str, int]] = {}
        missing: dict[str, str] = {}
        node = stack.enter_context(listening_process(top / "node"))
        assert node.process is not None
        receivers["node"] = (node.port, "OVERREAD", node.process.pid)
        try:
            pacs = stack.enter_context(orthanc(top / "orthanc"))
            receivers["orthanc"] = (pacs.dicom_port, "ORTHANC", pacs.process.pid)
        except pytest.skip.Exception as why:
            missing["orthanc"] = str(why)
        try:
            port, process = stack.enter_context(storescp(top / "storescp"))
            receivers["storescp"] = (port, "STORESCP", process.pid)
        except pytest.skip.Exception as why:
            missing["storescp"] = str(why)

        rates: dict[str, dict[int, list[float]]] = {who: {1: [], 4: []} for who in receivers}
        memory = dict.fromkeys(receivers, 0.0)
        study = 0
        for associations in (1, 4):
            for _ in range(ROUNDS):
                for who, (port, title, pid) in receivers.items():
                    study += 1
                    folders = _write_study(top / "source", study, associations)
                    with _peak(pid) as peak:
                        began = time.perf_counter()
                        send(folders, port, title)
                        rates[who][associations].append(INSTANCES / (time.perf_counter() - began))
                    memory[who] = max(memory[who], peak[0])
        kept = len(node.rows("select id from instances"))
        assert kept == 2 * ROUNDS * INSTANCES, f"the node kept {kept} instances"
        flat = _long_run(top, node, send, study)
    found: dict[str, Any] = {
        "instances": INSTANCES, "bytes_each": PIXELS, "rounds": ROUNDS, "sender": sender,
        "receivers": {
            who: {
                "one_association": round(statistics.median(rates[who][1])),
                "four_associations": round(statistics.median(rates[who][4])),
                "peak_mib": round(memory[who]),
                "rounds_one": [round(rate) for rate in rates[who][1]],
                "rounds_four": [round(rate) for rate in rates[who][4]],
            }
            for who in receivers
        },
        "listener_over_3000": flat,
    }  # fmt: skip
    if "orthanc" in receivers:
        for key in ("one_association", "four_associations"):
            ratio = found["receivers"]["node"][key] / found["receivers"]["orthanc"][key]
            found[f"node_to_orthanc_{key}"] = round(ratio, 2)
    return found | ({"missing": missing} if missing else {})


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """The result as a table, its head first."""
    table: list[tuple[str, ...]] = [("receiver", "1 association [1/s]", "4 associations [1/s]", "peak memory [MiB]")]
    for who, got in found["receivers"].items():
        table.append((who, *(str(got[key]) for key in ("one_association", "four_associations", "peak_mib"))))
    flat = found["listener_over_3000"]
    table.append(
        (
            "node, 3,000 instances",
            str(flat["rate"]),
            "",
            f"{flat['peak_mib']} ({flat['growth_mib']:+} since the first 600)",
        )
    )
    return table


def _long_run(top: Path, node: Any, send: Send, study: int) -> dict[str, Any]:
    process = psutil.Process(node.process.pid)
    resident: list[float] = []
    seconds = 0.0
    with _peak(process.pid) as peak:
        for number in range(LONG_RUN // INSTANCES):
            folders = _write_study(top / "source", study + 1 + number, 1)
            began = time.perf_counter()
            send(folders, node.port, "OVERREAD")
            seconds += time.perf_counter() - began
            resident.append(process.memory_info().rss / 2**20)
    return {
        "instances": LONG_RUN, "rate": round(LONG_RUN / seconds), "peak_mib": round(peak[0]),
        "growth_mib": round(resident[-1] - resident[1]), "resident_mib": [round(size) for size in resident],
    }  # fmt: skip


def _sender(top: Path) -> tuple[Send, str]:
    """DCMTK's dcmsend, or our own sender where DCMTK is not installed."""
    try:
        program = need("dcmsend", "dcmtk")
    except pytest.skip.Exception:
        config = node_config(top / "sender")

        def store(folder: Path, port: int, title: str) -> None:
            peer = Peer(**{"name": "receiver", "ae-title": title, "host": "127.0.0.1", "port": port})
            sending = config.model_copy(update={"node": config.node.model_copy(update={"ae_title": "SENDER"})})
            assert all(answer.stored for answer in peers.store(sending, peer, sorted(folder.iterdir())))

        def send_ours(folders: list[Path], port: int, title: str) -> None:
            threads = [threading.Thread(target=store, args=(folder, port, title)) for folder in folders]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return send_ours, "node.peers (DCMTK is not installed)"

    def send(folders: list[Path], port: int, title: str) -> None:
        sent = [
            subprocess.Popen([program, "-aec", title, "+sd", "127.0.0.1", str(port), str(folder)], env=ENVIRONMENT)
            for folder in folders
        ]
        assert [process.wait(120) for process in sent] == [0] * len(folders)

    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()
    return send, f"dcmsend {version[2]}, TCP_NODELAY=1"


def _write_study(folder: Path, number: int, parts: int) -> list[Path]:
    """A study of INSTANCES instances, dealt out to `parts` folders; it overwrites the last one dealt like that."""
    folders = [folder / f"{part}-of-{parts}" for part in range(parts)]
    for one in folders:
        one.mkdir(parents=True, exist_ok=True)
    for index in range(INSTANCES):
        made = instance(index, study=f"1.2.826.0.1.3680043.2.1125.{number}", pixels=0)
        made.Rows = made.Columns = 512
        made.BitsAllocated = made.BitsStored = 16
        made.HighBit, made.PixelRepresentation, made.SamplesPerPixel = 15, 0, 1
        made.PhotometricInterpretation = "MONOCHROME2"
        made.PixelData = index.to_bytes(2, "little") * (PIXELS // 2)
        head = file_head(made.SOPClassUID, made.SOPInstanceUID, "1.2.840.10008.1.2.1", "BENCH")
        (folders[index % parts] / f"{index:04}.dcm").write_bytes(head + encode(made))
    return folders


@contextlib.contextmanager
def _peak(pid: int) -> Iterator[list[float]]:
    """Notes the most resident memory of a process and its children meanwhile, in MiB."""
    peak, over = [0.0], threading.Event()
    process = psutil.Process(pid)

    def look() -> None:
        while not over.is_set():
            total = 0
            for one in (process, *process.children()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += one.memory_info().rss
            peak[0] = max(peak[0], total / 2**20)
            over.wait(0.05)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join(5)
