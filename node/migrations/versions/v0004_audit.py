"""The audit log: signed tree heads, who the patients are (beside the log), how far it was sent on, and retention."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Events may go only as far as a tree head says that they are purged; a head itself never goes, and nothing of it
# changes but that it becomes purged, once.
_SQLITE = (
    "DROP TRIGGER events_refuse_DELETE",
    """
CREATE TRIGGER events_refuse_DELETE BEFORE DELETE ON events
WHEN OLD.seq > (SELECT COALESCE(MAX(size), 0) FROM heads WHERE purged_at IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
""",
    """
CREATE TRIGGER heads_refuse_DELETE BEFORE DELETE ON heads
BEGIN SELECT RAISE(ABORT, 'the tree heads of the audit log are append-only'); END
""",
    """
CREATE TRIGGER heads_refuse_UPDATE BEFORE UPDATE ON heads
WHEN OLD.purged_at IS NOT NULL OR NEW.purged_at IS NULL OR NEW.size <> OLD.size OR NEW.timestamp <> OLD.timestamp
  OR NEW.root <> OLD.root OR NEW.signature <> OLD.signature OR NEW.peaks <> OLD.peaks OR NEW.last_hash <> OLD.last_hash
BEGIN SELECT RAISE(ABORT, 'the tree heads of the audit log are append-only'); END
""",
)
_POSTGRESQL = """
CREATE FUNCTION events_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.seq > (SELECT COALESCE(MAX(size), 0) FROM heads WHERE purged_at IS NOT NULL) THEN
    RAISE EXCEPTION 'the audit log is append-only';
  END IF;
  RETURN OLD;
END $$;
CREATE FUNCTION heads_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the tree heads of the audit log are append-only'; END $$;
DROP TRIGGER events_refuse ON events;
CREATE TRIGGER events_refuse BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION events_refuse();
CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION events_refuse_delete();
CREATE TRIGGER heads_refuse_delete BEFORE DELETE ON heads FOR EACH ROW EXECUTE FUNCTION heads_refuse();
CREATE TRIGGER heads_refuse_update BEFORE UPDATE ON heads FOR EACH ROW
WHEN (OLD.purged_at IS NOT NULL OR NEW.purged_at IS NULL OR NEW.size <> OLD.size OR NEW.timestamp <> OLD.timestamp
  OR NEW.root <> OLD.root OR NEW.signature <> OLD.signature OR NEW.peaks <> OLD.peaks OR NEW.last_hash <> OLD.last_hash)
EXECUTE FUNCTION heads_refuse();
CREATE TRIGGER heads_refuse_truncate BEFORE TRUNCATE ON heads FOR EACH STATEMENT EXECUTE FUNCTION heads_refuse();
"""


def upgrade() -> None:
    op.create_table(
        "heads",
        sa.Column("size", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("timestamp", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.Column("peaks", sa.Text(), nullable=False),
        sa.Column("last_hash", sa.String(), nullable=False),
        sa.Column("purged_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("size"),
    )
    op.create_table(
        "patients",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("study_uid", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("accession", sa.Text(), nullable=False),
        sa.Column("study_date", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("study_uid", "digest", "accession", name="one_patient"),
    )
    op.create_index("patients_by_accession", "patients", ["accession"], unique=False)
    op.create_index("patients_by_patient", "patients", ["patient_id"], unique=False)
    op.create_table(
        "places",
        sa.Column("reader", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("reader"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for statement in _SQLITE:
            op.execute(statement)
    else:
        op.execute(_POSTGRESQL)
