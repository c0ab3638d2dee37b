"""What else is observed beside jobs: the event's type, and who tells what it shows."""

from __future__ import annotations

from collections.abc import Mapping

from node.watch.observe import Source

SOURCES: Mapping[str, Source] = {}
"""Event type -> observations of it. Labels and reviews add theirs here."""
