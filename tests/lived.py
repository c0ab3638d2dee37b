"""A month that a node lived: everything through the store's own methods, with names as long as sites have them."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

from node.labels import NewLabel
from node.queries import Queries
from node.store import Answer, JobResult, NewJob, NewOutput, OutputFile, Store
from node.store.watching import NewAlarm
from pipelines.golden import Measured
from tests.conftest import Arrivals, Clock

START = datetime(2026, 10, 1, tzinfo=UTC).timestamp()
DAY = 86400.0
MODEL = {"name": "cxr-triage", "version": "1.0.0", "digest": "4f" * 32}
NEWER = MODEL | {"version": "1.1.0-release-candidate.2", "digest": "a7" * 32}
FAMILY = "cxr-triage|cxr-triage 1.0.0 4f4f4f4f4f4f|st-elisabeth-hospital-radiology-north"
ROUTES = tuple(f"{place}-portable-chest-radiographs-{time}" for place in ("emergency-department", "intensive-care-unit-2", "outpatients")
               for time in ("day", "night", "weekend", "holidays", "trauma", "teaching"))  # fmt: skip
PEERS = ("central-archive-of-the-university-hospital", "viewer-emergency")
DEVICES = (("Alpha Imaging Technologies GmbH & Co. KG", "MobileRay Excellence 4000 Plus", 12), ("Beta Medical", "DR 200", 6),
           ("Gamma", "Wall stand <prototype>", 1))  # fmt: skip
FINDINGS = {"pneumothorax": 0.25, "pleural effusion": 0.35, "suspected malposition of a central venous catheter": 0.1}


class Life:
    """A store's node over some months; `count` studies in each."""

    def __init__(self, store: Store, clock: Clock, seed: int = 4) -> None:
        self.store, self.clock, self.queries = store, clock, Queries(store.engine)
        self.draw, self.number = random.Random(seed), 0
        clock.now = START - 30 * DAY
        self.arrivals = Arrivals(store)

    def month(self, start: float, count: int, ill: float = 1.0) -> None:
        """Studies that come, run, are sent, reported on and sometimes reviewed."""
        for at in sorted(start + DAY * (self.draw.randrange(30) + self.draw.uniform(0.3, 0.8)) for _ in range(count)):
            self.clock.now = at
            self._study(ill)

    def _study(self, ill: float) -> None:
        self.number += 1
        uid = f"2.25.{self.number}"
        self.arrivals.add(1, 2, study=uid, modality="DX", peer=self.draw.choice(("portable-unit-17", "wall-stand-emergency-room-2")))
        self.clock.tick(self.draw.uniform(5, 60))
        study = self.queries.open_studies()[0]
        routes = tuple(self.draw.sample(ROUTES, 1 + (self.number % 7 == 0)))
        new = [NewJob("cxr-triage", routes, PEERS)]
        if self.number % 2:
            new.append(NewJob("cxr-triage@1.1.0-release-candidate.2", routes, ()))
        assert self.store.close_study(study.id, study.last_received_at, "quiet", new, {})
        sick = {name: self.draw.random() < prevalence * ill for name, prevalence in FINDINGS.items()}
        for _ in new:
            self._job(sick)
        if self.draw.random() < 0.8:
            self.clock.tick(self.draw.uniform(600, 7200))
            self.store.add_labels([NewLabel(uid, "study", name, value != (self.draw.random() < 0.05), "2026-10-20", "ris")
                                   for name, value in sick.items()])  # fmt: skip

    def _job(self, sick: dict[str, bool]) -> None:
        job = self.store.claim_job("w", 300)
        assert job is not None
        self.clock.tick(self.draw.uniform(3, 40))
        maker, device, _ = self.draw.choices(DEVICES, [weight for *_, weight in DEVICES])[0]
        features: dict[str, float | str | None] = {
            "device.Manufacturer": maker, "device.ManufacturerModelName": device, "patient.sex": self.draw.choices("MFO", (49, 49, 2))[0],
            "patient.age-band": self.draw.choice(("20-39", "40-59", "60-79", "80+"))}  # fmt: skip
        roll = self.draw.random()
        if roll < 0.05:
            self.store.skip_job(job, f"series 1.2.826.0.{self.number}: it is a lateral view", features=features)
            return
        if roll < 0.08:
            self.store.fail_job(job, "the model process used more than 4096 MiB of memory", features)
            return
        for name, ill in sick.items():
            p = min(1.0, max(0.0, self.draw.betavariate(6, 2) if ill else self.draw.betavariate(1, 6)))
            features |= {f"output.{name}.p": p, f"output.{name}.positive": float(p > 0.5)}
        made = NewOutput("report", f"{job.study_uid}.{job.id}", "1.2.840.10008.5.1.4.1.1.88.34",
                         (OutputFile(f"{job.study_uid}.{job.id}.1", f"results/{job.id}", "d", 500),))  # fmt: skip
        model = NEWER if "@" in job.pipeline else MODEL
        assert self.store.finish_job(job, [made], JobResult("s", "d", model, {}, {}, features))
        for peer in PEERS if "@" not in job.pipeline else ():
            delivery = self.store.claim_delivery("s", peer, 300)
            if delivery is None:
                continue
            self.clock.tick(self.draw.uniform(0.3, 4))
            file = delivery.files[0].sop_uid
            if self.draw.random() < 0.02:
                self.store.fail_delivery(delivery, [Answer(file, False, 0xA900)], f"0xA900 for {file}: Data Set does not match SOP Class")
            else:
                self.store.finish_delivery(delivery, [Answer(file, True, 0)])
        if "@" not in job.pipeline and self.draw.random() < 0.3:
            self.clock.tick(900)
            verdict = self.draw.choices(("accepted", "rejected", "changed"), (8, 1, 1))[0]
            self.store.add_review(f"{job.study_uid}.{job.id}.1", verdict, "dr.a", "seen", self.draw.choice(("cli", "rest/ris", "dicom")), self.clock())

    def oversight(self) -> None:
        """What people and monitoring did in October 2026."""
        store, at = self.store, self._at
        at(1).note("node.started", "node", "node", {"version": "0.1.0", "config": "a" * 64, "pid": 7})
        at(1).note("model.installed", "node", "model/cxr-triage", {"name": "cxr-triage", "version": "1.1.0-release-candidate.2", "digest": "a7" * 32})
        run = Measured("cxr-triage", "1.0.0", MODEL, "5" * 64, {"torch": "2.5", "device": "cpu"}, {"output.Nodule.p": 0.4})
        at(1).settle_golden(run, "work")
        at(2).settle_golden(run, "work")
        at(14).settle_golden(replace(run, features={"output.Nodule.p": 0.61}, software={"torch": "2.6", "device": "cpu"}), "work")
        key = at(3).propose_baseline(FAMILY, "{}", "c" * 64, {"studies": 512}, "user/dr.a")
        at(3.1).accept_baseline(key, "Dr A. Example-Longname, head of radiology", "512 studies of September, protocol 7, no complaints")
        for day, channel, kind, says in (
            (5, "device.StationName", "drift", "device.StationName: a new category on 22 % of studies"),
            (9, "sex.F.labelled.suspected malposition of a central venous catheter", "drift", "calibration: odds x 3"),
            (14, f"golden.{'cxr-triage'}", "golden", "the golden set gave another result"),
            (20, f"route.{ROUTES[7]}", "silence", "no study for 31 hours"), (25, "pixels.mean", "drift", "pixels.mean moved"),
        ):  # fmt: skip
            assert at(day).open_alarm(NewAlarm(FAMILY, channel, kind, 1, {"says": says}), ())
        at(5.2).acknowledge_alarm(1, "Dr A. Example-Longname, head of radiology", "looking after it")
        at(6).resolve_alarm(1, "Dr A. Example-Longname, head of radiology", "two new mobile units were put into service in the intensive care unit; "
                            "their images were compared with those of the old ones by two readers on 60 studies", "accepted-change")  # fmt: skip
        at(9.1).set_mode(ROUTES[0], "review", "watch", "alarm 2: calibration: observed by expected 2.9 is beyond 2")
        at(10).acknowledge_alarm(2, "qa", "reading the reports")
        at(15).resolve_alarm(3, "qa", "torch was upgraded; agreed", "model-changed")
        at(16).set_mode(ROUTES[0], "live", "qa", "looked at 40 results, all as before")
        assert at(21).clear_alarm(FAMILY, f"route.{ROUTES[7]}", "a study came", ())
        at(22).promote("cxr-triage", "1.1.0-release-candidate.2", "Dr A. Example-Longname, head of radiology", "compared on 412 studies, protocol 7", {"replaced": "1.0.0"})
        at(23).note("node.started", "node", "node", {"version": "0.1.1", "config": "b" * 64, "pid": 8})
        at(24).refuse("association", "UNKNOWN", "OVERREAD", "10.0.0.3", "no such peer", count=41)
        at(24).note("peer.away", "send", "peer/viewer-emergency", {"reason": "it takes no association"})
        at(26).note("audit.exported", "user/qa", "audit", {"format": "csv", "count": 1200, "by": "qa"})
        at(27).note("patient.erased", "user/dpo", "patient/5", {"digest": "e" * 32, "rows": 3, "studies": 2, "by": "dpo", "why": "a request of the patient"})
        assert store.clock() < START + 31 * DAY

    def _at(self, day: float) -> Store:
        self.clock.now = START + day * DAY
        return self.store
