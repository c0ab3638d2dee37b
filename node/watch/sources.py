"""What else is observed beside jobs: the event's type, and who tells what it shows."""

from __future__ import annotations

from collections.abc import Mapping

from node.watch import concord
from node.watch.observe import Source

SOURCES: Mapping[str, Source] = {
    "job.done": concord.of_job,  # labels that came before the result
    "label.added": concord.of_label,
    "review.given": concord.of_review,
}
"""Event type -> observations of it."""
