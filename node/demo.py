"""`overread demo`: a study travels from a modality through the node to a PACS, as real processes over real DICOM.

Everything lies under one folder (`demo-out`): the study that was sent, the node's configuration, spool and database,
what the PACS stored, and a contact sheet of it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from node import config as configuration
from node import peers, screens
from node.config import Config
from node.errors import ConfigError, OverreadError, TryAgain
from node.queries import Queries, open_queries
from pipelines import contact_sheet, phantom_studies
from pipelines.study import Study

_MARK = ".overread-demo"  # says that the folder is ours to empty
_LIMIT = 900.0  # seconds for the whole journey
_STAGES = ("received", "complete", "running", "sending")

CONFIG = """\
# What `overread demo` ran. Start this node again with: overread serve -c {folder}/overread.toml
[node]
ae-title = "OVERREAD"
host = "127.0.0.1"
port = {node_port}
spool = "spool"
database = "sqlite:///overread.db"
quiet-time = 2
min-free-disk = 268435456
log-level = "warning"

[send]
retry-after = 1

[[peer]]
name = "modality"          # whoever calls itself MODALITY from this machine may send
ae-title = "MODALITY"
host = "127.0.0.1"
port = 104
may = ["echo", "store"]

[[peer]]
name = "pacs"
ae-title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
may = ["echo", "store"]

[[route]]
name = "chest-ct"
match = {{ Modality = "CT" }}
pipelines = ["ct-lung"]
send-to = ["pacs"]
"""


def run(study: Path | None, out: Path, keep: bool) -> int:
    """The whole demonstration; returns the exit code. Raises ConfigError, NotAStudy."""
    _make_room(out)
    begun = time.monotonic()
    try:
        with ExitStack() as stack:
            if study is None:
                screens.out.print("making a chest CT: 128 slices of 512 x 512 ...")
                study = out / "study"
                phantom_studies.chest_study(study, seed=20260101)
            sent = Study.from_folder(study)
            uid = sent.StudyInstanceUID
            screens.out.print(f"study {uid}: {len(sent.instances)} instances")
            pacs_port, node_port = _free_ports(2)
            config_path = out / "node" / "overread.toml"
            config_path.parent.mkdir(parents=True)
            folder = config_path.parent
            config_path.write_text(
                CONFIG.format(folder=folder, node_port=node_port, pacs_port=pacs_port), encoding="utf-8"
            )
            config = configuration.load(config_path)
            stack.enter_context(_stand_in_pacs(out / "pacs", pacs_port))
            node = stack.enter_context(_node(config_path))
            shown = _journey(config, node, sent, keep)
            _report(shown, time.monotonic() - begun)
            results = sorted((out / "pacs").rglob("*.dcm"))
            if results:
                sheet = out / "contact-sheet.png"
                contact_sheet.contact_sheet([one.path for one in sent.instances], results, sheet)
                screens.out.print(f"results as the PACS stored them: {out / 'pacs'}\ncontact sheet: {sheet}")
            told = f"its whole story: {sys.argv[0]} show {uid[:24]} -c {config_path}"  # to be copied: in one line
            screens.out.print(told, markup=False, soft_wrap=True)
            if keep:
                _wait_for_interrupt(config, pacs_port, node)
            return 0 if _went_well(shown) else 1
    except KeyboardInterrupt:
        screens.out.print("\nstopped; no process is left")
        return 130


def _journey(config: Config, node: subprocess.Popen[str], sent: Study, keep: bool) -> dict[str, Any]:
    queries = open_queries(config.node.database)
    answers: list[peers.Answer] = []
    trouble: list[str] = []
    us = configuration.Peer(name="node", ae_title=config.node.ae_title, host="127.0.0.1", port=config.node.port)
    modality = config.model_copy(update={"node": config.node.model_copy(update={"ae_title": "MODALITY"})})

    def send() -> None:
        try:
            answers.extend(peers.store(modality, us, [one.path for one in sent.instances]))
        except OverreadError as error:
            trouble.append(str(error))

    sender = threading.Thread(target=send, daemon=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[stage]:<9}"),
        BarColumn(30),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screens.out, transient=False) as progress:
        bars = {stage: progress.add_task("", stage=stage, text="", start=False, total=None) for stage in _STAGES}
        _start(progress, bars["received"], len(sent.instances))
        sender.start()
        deadline = time.monotonic() + _LIMIT
        while time.monotonic() < deadline:
            if node.poll() is not None:
                raise TryAgain(f"the node ended (exit code {node.returncode}); start it again with "
                               f"`overread serve -c {config.node.spool.parent / 'overread.toml'}`")  # fmt: skip
            if trouble or (not sender.is_alive() and any(not answer.stored for answer in answers)):
                raise TryAgain(
                    f"the node did not take the study: {(trouble or [a.reason for a in answers if not a.stored])[0]}"
                )
            shown = queries.study(sent.StudyInstanceUID)
            if shown is not None and _advance(progress, bars, shown, queries, sent):
                return shown
            time.sleep(0.1)
    raise TryAgain(f"not finished after {_LIMIT:g} s; `overread show` tells how far it came")


def _start(progress: Progress, bar: TaskID, total: int | None) -> None:
    if not progress.tasks[bar].started:
        progress.start_task(bar)
        progress.update(bar, total=total)


def _advance(progress: Progress, bars: dict[str, TaskID], shown: dict[str, Any], queries: Queries, sent: Study) -> bool:
    """Move the bars to where the study is; True at the end of the journey."""
    total = len(sent.instances)
    progress.update(bars["received"], completed=shown["instances"], text=f"{shown['instances']} of {total} instances")
    if shown["instances"] >= total:
        progress.stop_task(bars["received"])
        _start(progress, bars["complete"], 1)
    if shown["state"] != "ready":
        return False
    progress.update(bars["complete"], completed=1, text=shown["reason"])
    progress.stop_task(bars["complete"])
    jobs = shown["jobs"]
    if not jobs:
        return True
    _start(progress, bars["running"], len(jobs))
    over = [job for job in jobs if job["state"] in ("done", "skipped", "failed")]
    told = ", ".join(
        f"{job['pipeline']} {job['state']}" + (f": {job['reason']}" if job["reason"] else "") for job in jobs
    )
    progress.update(bars["running"], completed=len(over), text=told)
    if len(over) < len(jobs):
        return False
    progress.stop_task(bars["running"])
    deliveries = [d for job in jobs for output in job["outputs"] for d in output["deliveries"]]
    _start(progress, bars["sending"], len(deliveries) or 1)
    gone = [one for one in deliveries if one["state"] in ("delivered", "committed", "failed", "withdrawn", "held")]
    reasons = sorted({delivery["reason"] for delivery in deliveries if delivery["reason"]})
    progress.update(
        bars["sending"],
        completed=len(gone) or 1,
        text=f"{len(gone)} of {len(deliveries)} outputs " + "; ".join(reasons),
    )
    if len(gone) < len(deliveries):
        return False
    progress.stop_task(bars["sending"])
    return True


def _went_well(shown: dict[str, Any]) -> bool:
    outputs = [output for job in shown["jobs"] for output in job["outputs"]]
    return bool(outputs) and all(d["state"] in ("delivered", "committed") for o in outputs for d in o["deliveries"])


def _report(shown: dict[str, Any], seconds: float) -> None:
    screens.out.print()
    screens.journey(shown)
    screens.out.print(f"the whole demonstration took {seconds:.0f} s")


def _wait_for_interrupt(config: Config, pacs_port: int, node: subprocess.Popen[str]) -> None:
    screens.out.print(
        f"\nstill running, Ctrl-C ends it. Send studies of your own as AE title MODALITY to {config.node.ae_title} at "
        f"127.0.0.1 port {config.node.port}, for instance with DCMTK:\n"
        f"  storescu -aet MODALITY -aec {config.node.ae_title} +sd +r 127.0.0.1 {config.node.port} FOLDER\n"
        f"results go to the stand-in PACS (AE title PACS, port {pacs_port})", soft_wrap=True,
    )  # fmt: skip
    while node.poll() is None:
        time.sleep(0.5)


def _make_room(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / _MARK).exists():
            raise ConfigError(str(out), "is not empty and no demonstration made it; choose another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            door = stack.enter_context(socket.socket())
            door.bind(("127.0.0.1", 0))
            ports.append(int(door.getsockname()[1]))
        return ports


@contextmanager
def _stand_in_pacs(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    folder.mkdir(parents=True)
    command = [
        sys.executable,
        "-m",
        "node.stand_in_pacs",
        "--port",
        str(port),
        "--folder",
        str(folder),
        "--ae-title",
        "PACS",
    ]
    with _ended(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line or "port" not in json.loads(line):
            raise TryAgain("the stand-in PACS did not start")
        yield process


@contextmanager
def _node(config_path: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"OVERREAD_END_WITH_PARENT": "1"}
    command = [sys.executable, "-m", "node.cli", "serve", "-c", str(config_path)]
    with _ended(
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready"):
                screens.out.print(f"node {line.strip()}", markup=False)
                break
        else:
            raise TryAgain("the node did not start; its reason stands above")
        yield process


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(25)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
