"""The tables, as the newest migration leaves them. Times are whole microseconds since 1970, in UTC."""

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, text

METADATA = MetaData()

OBJECTS = Table(
    "objects",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("spec", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("updated_at", Integer, nullable=False),
    Column("deleting", Boolean, nullable=False),
    Column("origin", String, nullable=False),
    Column("api_key", LargeBinary),
    Column("observed", LargeBinary),
    Column("revision", Integer, nullable=False),
)
"""One row an object; `revision` is the store's when the row was last put."""

Index(
    "objects_name",
    OBJECTS.c.kind,
    OBJECTS.c.organization_id,
    OBJECTS.c.name,
    unique=True,
    sqlite_where=text("deleting = 0"),
)
Index("objects_age", OBJECTS.c.kind, OBJECTS.c.organization_id, OBJECTS.c.created_at, OBJECTS.c.id)
Index("objects_revision", OBJECTS.c.revision)
Index("objects_origin", OBJECTS.c.origin, sqlite_where=text("origin <> ''"))

HOSTS = Table(
    "hosts",
    METADATA,
    Column("host", String, primary_key=True),
    Column("gateway_id", String, nullable=False, index=True),
)
"""The additional host names of gateways that are not being deleted, in `normal_host` spelling."""

ATTACHMENTS = Table(
    "attachments",
    METADATA,
    Column("gateway_id", String, primary_key=True),
    Column("deployment_id", String, primary_key=True, index=True),
)
"""Which deployments name which gateways, also those that are being deleted."""

REPLICAS = Table(
    "replicas",
    METADATA,
    Column("deployment_id", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("address", String, nullable=False),
    Column("port", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False, index=True),
)

REPLICA_SETS = Table(
    "replica_sets",
    METADATA,
    Column("deployment_id", String, primary_key=True),
    Column("revision", Integer, nullable=False, index=True),
)
"""The revision at which a deployment's replicas last changed, also if none is left."""

EVENTS = Table(
    "events",
    METADATA,
    Column("organization_id", String, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Integer, nullable=False),
    Column("principal", String, nullable=False),
    Column("action", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("before", String),
    Column("after", String),
)
"""Numbered from 1 in each organisation without gaps, so that the oldest beyond a bound are found by number."""

REMOVALS = Table(
    "removals",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("revision", Integer, nullable=False, index=True),
)
"""Objects that were removed, for watchers, even if they were made again; the oldest are forgotten."""

REVISIONS = Table(
    "revisions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("horizon", Integer, nullable=False),
)
"""One row. `revision` grows with each transaction that watchers hear of; who has seen less than `horizon`
cannot be told what was removed since."""
