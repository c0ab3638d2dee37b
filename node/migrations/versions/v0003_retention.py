"""Retention: which files were purged, and quick answers to what may be."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instances", sa.Column("purged_at", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("purged_at", sa.Double(), nullable=True))
    op.create_index("studies_by_state", "studies", ["state", "last_received_at"], unique=False)
    op.create_index(
        "returned_results",
        "instances",
        ["received_at"],
        unique=False,
        sqlite_where=sa.text("ours = 1"),
        postgresql_where=sa.text("ours = 1"),
    )
    op.create_index("commitment_items_by_uid", "commitment_items", ["sop_uid"], unique=False)
