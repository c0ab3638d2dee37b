"""pynetdicom as the SCP of C-FIND for tests: an archive that holds what the test says, and may be slow, broken or terse."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from tests.peers import free_port


@dataclass
class Archive:
    """`holds`: StudyInstanceUID -> SeriesInstanceUID -> SOPInstanceUIDs. `says`: the counts that it knows, "study" and
    "series"; `status`: instead of an answer; `stuck`: it answers only when this is set; `ignores_keys`: it answers with
    whatever it has; `extra`: other attributes that every answer holds."""

    port: int = field(default_factory=free_port)
    holds: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    says: tuple[str, ...] = ("study", "series")
    status: int = 0
    stuck: threading.Event | None = None
    ignores_keys: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # (level, StudyInstanceUID)

    def on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        """Answer one query."""
        wanted = event.identifier
        level, study = str(wanted.QueryRetrieveLevel), str(wanted.StudyInstanceUID)
        self.asked.append((level, study))
        if self.stuck is not None:
            self.stuck.wait(60)
        if self.status:
            yield self.status, None
            return
        for uid in list(self.holds) if self.ignores_keys else [study]:
            for match in self._matches(level, uid, str(wanted.get("SeriesInstanceUID") or "")):
                match.QueryRetrieveLevel, match.StudyInstanceUID = level, uid
                for keyword, value in self.extra.items():
                    setattr(match, keyword, value)
                yield 0xFF00, match

    def _matches(self, level: str, study: str, series: str) -> Iterator[Dataset]:
        held = self.holds.get(study)
        if held is None:
            return
        if level == "STUDY":
            made = Dataset()
            if "study" in self.says:
                made.NumberOfStudyRelatedInstances = sum(map(len, held.values()))
            yield made
            return
        for uid, instances in held.items():
            if series and uid != series:
                continue
            for instance in [""] if level == "SERIES" else instances:
                made = Dataset()
                made.SeriesInstanceUID = uid
                if level == "IMAGE":
                    made.SOPInstanceUID = instance
                elif "series" in self.says:
                    made.NumberOfSeriesRelatedInstances = len(instances)
                yield made


@contextlib.contextmanager
def archive(tls: Any = None, **settings: Any) -> Iterator[Archive]:
    """A running archive called PACS; `tls`: an SSL context of its server."""
    serving = Archive(**settings)
    ae = AE("PACS")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_supported_context(Verification)
    server = ae.start_server(
        ("127.0.0.1", serving.port), block=False, evt_handlers=[(evt.EVT_C_FIND, serving.on_find)], ssl_context=tls
    )
    try:
        yield serving
    finally:
        if serving.stuck is not None:
            serving.stuck.set()
        server.shutdown()
