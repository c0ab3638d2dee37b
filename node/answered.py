"""What a peer has said of a delivery."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from node.schema import answers, askings

MOST = 20  # instances that are named one by one


def of_delivery(connection: sa.Connection, delivery_id: int) -> dict[str, Any]:
    """`answers`: status -> how many instances; `not_stored`: the first of those that the peer has not stored, each with
    its UID, status and reason; `commitment`: the newest storage commitment request about it, None where there is none.
    """
    said = connection.execute(
        sa.select(answers.c.status, sa.func.count()).where(answers.c.delivery_id == delivery_id)
        .group_by(answers.c.status)
    ).all()  # fmt: skip
    not_stored = connection.execute(
        sa.select(answers.c.sop_uid, answers.c.status, answers.c.reason)
        .where(answers.c.delivery_id == delivery_id, answers.c.stored == 0).order_by(answers.c.sop_uid).limit(MOST)
    ).all()  # fmt: skip
    asked = connection.execute(
        sa.select(askings.c.transaction_uid, askings.c.state, askings.c.reason)
        .where(askings.c.delivery_id == delivery_id).order_by(askings.c.id.desc()).limit(1)
    ).first()  # fmt: skip
    return {
        "answers": {_status(status): count for status, count in said},
        "not_stored": [dict(one._mapping) for one in not_stored],
        "commitment": dict(asked._mapping) if asked else None,
    }


def _status(status: int | None) -> str:
    return "no answer" if status is None else f"0x{status:04X}"
