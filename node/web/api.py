"""POST /api/labels and /api/reviews: what others know about our results. The shapes are checked here, the store decides
the rest.

Nothing that a caller wrote is repeated in an answer or a log line: accession numbers lead to patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from node import logs
from node.labels import NewLabel

log = logs.get(__name__)
MOST = 1000  # labels in one request
Line = Annotated[
    str, StringConstraints(min_length=1, max_length=256, strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Uid = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=64)]  # PS3.5, 9.1


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(_Body):
    """A report's word on one finding of one study; `study`: its UID or accession number, as `by` says; `value`: None
    (null) withdraws what the source said."""

    study: Annotated[Line, Field(max_length=64)]
    by: Literal["accession", "study"]
    finding: Annotated[Line, Field(max_length=64)]
    value: Annotated[bool, Field(strict=True)] | None
    date: date
    source: Annotated[Line, Field(max_length=64)]


class Labels(_Body):
    """The body of POST /api/labels."""

    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=MOST)]


class Review(_Body):
    """The body of POST /api/reviews: a person's verdict on an output; `at`: when, by default now."""

    sop_uid: Uid
    verdict: Literal["accepted", "rejected", "changed"]
    by: Annotated[Line, Field(max_length=64)]
    why: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x08\x0e-\x1f\x7f]*$")] = ""
    at: AwareDatetime | None = None


class Takes(Protocol):
    """What the end points need of the store."""

    def add_labels(self, labels: Sequence[Any], actor: str, /) -> Sequence[Any]:
        """Labels as `NewLabel`, by whom; one answer for each, whose `word` says what became of it. Raises GiveUp."""

    def add_review(self, sop_uid: str, verdict: str, by: str, why: str, source: str, at: float) -> Any:
        """What came of it: `outcome`, and `reason` in words. Raises GiveUp, with a line, where `sop_uid` is none of our
        outputs."""


def router(store: Takes, clock: Any) -> APIRouter:
    """The end points over `store`. `clock` gives seconds since the epoch."""
    routes = APIRouter(prefix="/api")

    @routes.post("/labels", status_code=201)
    def labels(body: Labels, request: Request) -> dict[str, int | dict[str, int]]:
        new = [
            NewLabel(one.study, one.by, one.finding, one.value, one.date.isoformat(), one.source) for one in body.labels
        ]
        source = f"rest/{request.state.caller.name}"
        became = Counter(str(one.word) for one in store.add_labels(new, source))
        log.info("labels taken", by=source, labels=len(new), **became)
        return {"labels": len(new), "became": dict(became)}

    @routes.post("/reviews", status_code=201)
    def reviews(body: Review, request: Request) -> dict[str, str]:
        at = body.at.astimezone(UTC).timestamp() if body.at else clock()
        source = f"rest/{request.state.caller.name}"
        given = store.add_review(body.sop_uid, body.verdict, body.by, body.why, source, at)
        log.info("review taken", by=source, verdict=body.verdict, outcome=given.outcome)
        told = {"sop_uid": body.sop_uid, "verdict": body.verdict, "at": datetime.fromtimestamp(at, UTC).isoformat()}
        return told | {"outcome": given.outcome} | ({"reason": given.reason} if given.reason else {})

    return routes
