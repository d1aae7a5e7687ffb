"""Objects, what is looked up beside them, replicas, events, and the revision that watchers follow."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    _objects()
    _lookups()
    _replicas()
    _events()
    _revisions()


def _objects() -> None:
    op.create_table(
        "objects",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("spec", sa.String, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.Integer, nullable=False),
        sa.Column("deleting", sa.Boolean, nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("api_key", sa.LargeBinary),
        sa.Column("observed", sa.LargeBinary),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.create_index(
        "objects_name",
        "objects",
        ["kind", "organization_id", "name"],
        unique=True,
        sqlite_where=sa.text("deleting = 0"),
    )
    op.create_index("objects_age", "objects", ["kind", "organization_id", "created_at", "id"])
    op.create_index("objects_revision", "objects", ["revision"])
    op.create_index("objects_origin", "objects", ["origin"], sqlite_where=sa.text("origin <> ''"))


def _lookups() -> None:
    op.create_table(
        "hosts",
        sa.Column("host", sa.String, primary_key=True),
        sa.Column("gateway_id", sa.String, nullable=False, index=True),
    )
    op.create_table(
        "attachments",
        sa.Column("gateway_id", sa.String, primary_key=True),
        sa.Column("deployment_id", sa.String, primary_key=True, index=True),
    )


def _replicas() -> None:
    op.create_table(
        "replicas",
        sa.Column("deployment_id", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False, index=True),
    )
    op.create_table(
        "replica_sets",
        sa.Column("deployment_id", sa.String, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False, index=True),
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("organization_id", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("principal", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("before", sa.String),
        sa.Column("after", sa.String),
    )


def _revisions() -> None:
    op.create_table(
        "removals",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False, index=True),
    )
    revisions = op.create_table(
        "revisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("horizon", sa.Integer, nullable=False),
    )
    op.bulk_insert(revisions, [{"id": 1, "revision": 0, "horizon": 0}])
