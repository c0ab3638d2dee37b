"""Who we are on the wire and in the files that we write (PS3.7, annex D.3.3.2; PS3.10, 7.1)."""

from __future__ import annotations

from node import __version__
from pipelines.outputs.identity import IMPLEMENTATION_CLASS_UID

__all__ = ["IMPLEMENTATION_CLASS_UID", "IMPLEMENTATION_VERSION_NAME"]

IMPLEMENTATION_VERSION_NAME = f"OVERREAD_{__version__}"[:16]
