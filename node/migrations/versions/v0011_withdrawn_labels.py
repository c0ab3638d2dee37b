"""Labels that their source has withdrawn: rows without a value."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("labels") as table:
        table.alter_column("value", existing_type=sa.Integer(), nullable=True)
