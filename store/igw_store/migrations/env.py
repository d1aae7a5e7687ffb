"""What Alembic runs for every command: it works on the connection, and in the transaction, that it is given."""

from alembic import context

from igw_store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,  # SQLite's is; a process that is killed on the way leaves the old schema
)
context.run_migrations()
