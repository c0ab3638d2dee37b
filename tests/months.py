"""A month of a node, simulated: studies, jobs, deliveries and results as the store's own rows, without files or models."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

from node import audit
from node.schema import deliveries, features, instances, jobs, labels, outputs, studies
from node.store import Store

START = datetime(2026, 10, 1, tzinfo=UTC).timestamp()
DAY = 86400.0
FINDINGS = {"pneumothorax": 0.06, "pleural effusion": 0.15, "<b>mass</b>": 0.03}  # one that must be escaped
DEVICES = (("Alpha Imaging", "DR 100"), ("Alpha Imaging", "DR 200"), ("Beta Medical", "Mobile <X>"))
MODEL = {"name": "cxr-triage", "version": "1.0.0", "digest": "4f" * 32}


def fill(store: Store, count: int = 600, seed: int = 4, labelled: bool = False, start: float = START, first: int = 1) -> None:
    """`count` studies over the 31 days from `start`, October 2026: most done and delivered, some skipped, failed, or given
    up; their keys begin with `first`."""
    draw = random.Random(seed)
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in ("studies", "instances", "jobs", "features", "outputs", "deliveries", "labels")}
    moments = sorted(start + DAY * draw.choice([d for d in range(31) if d % 7 not in (2, 3) or draw.random() < 0.3]) + draw.uniform(25000, 70000) for _ in range(count))
    for key, at in enumerate(moments, start=first):
        uid, closed = f"2.25.{key}", at + draw.uniform(6, 40)
        sick = {name: draw.random() < prevalence for name, prevalence in FINDINGS.items()}
        roll = draw.random()
        state = "skipped" if roll < 0.06 else "failed" if roll < 0.075 else "done"
        finished = closed + draw.uniform(3, 30) * (8 if draw.random() < 0.05 else 1)
        reason = {"skipped": f"series {key}: it is a lateral view", "failed": "the model process used more than 4096 MiB of memory"}.get(state)
        rows["studies"].append({"id": key, "study_uid": uid, "revision": 1, "state": "ready", "first_received_at": at, "last_received_at": at + 2, "closed_at": closed, "reason": "quiet"})
        rows["instances"].append({"study_id": key, "study_uid": uid, "series_uid": f"{uid}.1", "sop_uid": f"{uid}.1.1", "sop_class": "1.2.840.10008.5.1.4.1.1.1.1",
                                  "transfer_syntax": "1.2.840.10008.1.2.1", "modality": "DX", "patient_digest": "0" * 32, "digest": f"{key:064x}", "size": 9_000_000,
                                  "path": f"studies/{key}", "revision": 1, "peer": draw.choice(("er-room", "ward")), "received_at": at, "current": 1, "ours": 0})
        rows["jobs"].append({"id": key, "study_id": key, "revision": 1, "pipeline": "cxr-triage", "routes": '["chest"]', "peers": '["pacs"]', "state": state, "priority": 0, "attempts": 1,
                             "due_at": closed, "created_at": closed, "started_at": closed, "finished_at": finished, "reason": reason, "model": json.dumps(MODEL) if state == "done" else None})
        maker, device = draw.choices(DEVICES, (6, 3, 1))[0]
        said: dict[str, object] = {"device.Manufacturer": maker, "device.ManufacturerModelName": device, "patient.sex": draw.choice("MF"),
                                   "patient.age-band": draw.choice(("20-39", "40-59", "60-79", "80+"))}
        for name, ill in sick.items() if state == "done" else ():
            p = min(1.0, max(0.0, draw.betavariate(6, 2) if ill else draw.betavariate(1, 9)))
            said |= {f"output.{name}.p": p, f"output.{name}.positive": float(p > 0.5)}
            if labelled and draw.random() < 0.7:
                rows["labels"].append({"study_uid": uid, "finding": name, "value": int(ill), "source": "ris", "date": "2026-10-20", "added_at": finished})
        rows["features"] += [{"job_id": key, "name": name, "text": v if isinstance(v, str) else None, "number": None if isinstance(v, str) else v} for name, v in said.items()]
        if state == "done":
            lost = draw.random() < 0.01
            rows["outputs"].append({"id": key, "job_id": key, "name": "report", "series_uid": f"{uid}.9", "sop_class": "1.2.840.10008.5.1.4.1.1.88.34"})
            rows["deliveries"].append({"output_id": key, "peer": "pacs", "state": "failed" if lost else "delivered", "priority": 0, "attempts": 1, "due_at": finished, "created_at": finished,
                                       "finished_at": finished + draw.uniform(0.2, 5), "reason": f"0xA900 for {uid}.9.1" if lost else None})
    with store._write() as connection:
        for table in (studies, instances, jobs, features, outputs, deliveries):
            connection.execute(table.insert(), rows[table.name])
        if rows["labels"]:
            connection.execute(labels.insert(), rows["labels"])
        if first > 1:
            return
        for at, config in ((START + 100, "a" * 64), (START + 9 * DAY, "b" * 64)):
            audit.append(connection, at, "node.started", "node", "node", {"version": "0.1.0", "config": config, "pid": 7})
        audit.append(connection, START + 12 * DAY, "peer.away", "send", "peer/pacs", {"reason": "it takes no association"})
        audit.append(connection, START + 40 * DAY, "node.started", "node", "node", {"version": "0.2.0", "config": "c" * 64, "pid": 8})
