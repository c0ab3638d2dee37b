"""What comes back about our results: reports over HL7, and reports and key object selections over DICOM.

hl7.py reads one message, oru.py finds the labels in it, mllp.py is the door. content.py reads a document's content,
documents.py looks at what the listener has stored. Nothing of this lies in the way of an instance that is received.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from node.config import Config
from node.reports import documents, mllp
from node.spool import Spool
from node.store import Store

__all__ = ["serve"]


def serve(
    config: Config, store: Store, spool: Spool, stop: threading.Event, ready: Callable[[int], None] = lambda port: None
) -> None:
    """Read what comes until `stop` is set. `ready` gets the port of HL7, 0 where there is none. Raises ConfigError."""
    door = mllp.Door(config, store) if config.hl7.port else None
    hearing = threading.Thread(target=door.serve, args=(stop,), name="hl7", daemon=True) if door else None
    if hearing is not None:
        hearing.start()
    ready(door.port if door else 0)
    documents.serve(config, store, spool, stop)
    if hearing is not None:
        hearing.join()
