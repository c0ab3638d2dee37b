"""The states of study, job and delivery, and every move between them that is legal.

The store asks `move` before each change, docs/flow.md is checked against these tables, and nothing else
in the node decides what may follow what.
"""

from __future__ import annotations

from node.errors import IllegalMove

STUDY: dict[str, frozenset[str]] = {
    "receiving": frozenset({"ready"}),
    "ready": frozenset({"receiving", "purged"}),
    "purged": frozenset({"receiving"}),  # an instance came after all
}

JOB: dict[str, frozenset[str]] = {
    "due": frozenset({"running"}),
    "running": frozenset({"done", "skipped", "failed", "due"}),
    "failed": frozenset({"due"}),
    "done": frozenset(),
    "skipped": frozenset(),
}

DELIVERY: dict[str, frozenset[str]] = {
    "held": frozenset({"due", "withdrawn"}),  # in review: a person accepts or rejects it, or the study changes
    "due": frozenset({"sending", "held", "withdrawn"}),  # the last two: its route was set to review; it was rejected
    # The last two: it was rejected or its source is another by now; its route was set to review.
    "sending": frozenset({"delivered", "failed", "due", "withdrawn", "held"}),
    "delivered": frozenset({"committed", "due", "failed"}),  # the last two: the peer says that it does not keep it
    "committed": frozenset(),
    "withdrawn": frozenset(),
    "failed": frozenset({"due"}),
}

STAT = 100  # the priority of what should be seen soon; those of routes lie between -10 and 10

TABLES = {"study": STUDY, "job": JOB, "delivery": DELIVERY}


def move(noun: str, before: str, after: str) -> str:
    """Return `after` if a study, job or delivery may go there from `before`; raise IllegalMove otherwise."""
    if after not in TABLES[noun].get(before, frozenset()):
        raise IllegalMove(f"{noun}: {before} -> {after} is not a legal move")
    return after
