"""The last look before a result is sent: its patient and its source are still those of the study as it is now."""

from __future__ import annotations

from node import clearance
from node.config import Config
from node.errors import GiveUp
from node.queries import Queries
from node.spool import Spool
from node.standing import Standing
from node.store import Delivery
from pipelines import patient
from pipelines.study import NotAStudy, read_patient


def held_back(queries: Queries, config: Config, delivery: Delivery) -> tuple[str, str] | None:
    """What people and modes say against sending a delivery: "held" or "withdrawn", and why; None when it may go. Raises
    TryAgain without a database."""
    if not delivery.files:  # all of it is there already
        return None
    found = queries.clearance(delivery.id)
    if found.refused is not None:
        return "withdrawn", found.refused
    why = clearance.why_held(found, {route.name: route.mode for route in config.routes})
    return None if why is None else ("held", why)


def why_not(queries: Queries, spool: Spool, delivery: Delivery) -> tuple[str | None, Standing]:
    """Why a claimed delivery is to be withdrawn, for a person; None when it may be sent; and the study that this is
    said of. Raises TryAgain without a database, GiveUp when a header cannot be read: what is not known is not sent."""
    now = queries.standing(delivery.job_id)
    if not delivery.files:  # all of it is there already
        return None, now
    if now.superseded is not None or not now.late:
        return now.superseded, now
    try:
        result = read_patient(spool.path(delivery.files[0].path))
        for path in now.late:
            differing = patient.contradictions(result, read_patient(spool.path(path)))
            if differing:
                told = f"superseded: revision {now.revision} of the study names another patient"
                return f"{told} ({', '.join(differing)} differ)", now
    except NotAStudy as error:
        raise GiveUp(f"its patient cannot be compared with revision {now.revision}: a header cannot be read") from error
    return None, now
