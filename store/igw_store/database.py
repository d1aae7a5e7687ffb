"""SQLite opened: connections set up alike, the schema brought up to date, files of a newer one refused."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, QueuePool, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError

BUSY_SECONDS = 10
"""How long a write waits for another process's."""
_MIGRATIONS = Path(__file__).parent / "migrations"
_ALEMBIC = threading.Lock()
"""What runs a step is found through Alembic's modules, so that one thread at a time can."""


class CannotOpenError(Exception):
    """The store's file cannot be used: no folder, no rights, no database, or a newer version's."""


def open_database(path: Path | None) -> Engine:
    """Open a database, made if it is not there, with the newest schema. Raises CannotOpenError."""
    engine = _engine(path)
    try:
        with _ALEMBIC, _opening(path):
            _migrate(engine, path)
    except (OSError, DBAPIError) as error:
        engine.dispose()
        reason = error.strerror if isinstance(error, OSError) else error.orig
        raise CannotOpenError(f"{path or 'the store in memory'} cannot be opened: {reason}") from None
    except CannotOpenError:
        engine.dispose()
        raise
    return engine


def writing(engine: Engine) -> Engine:
    """Give the same database for transactions that write: they wait for their turn when they begin."""
    return engine.execution_options(begin="BEGIN IMMEDIATE")


def _engine(path: Path | None) -> Engine:
    """Give connections that any thread may use; in memory there is one, which threads must take in turns."""
    engine = create_engine(
        URL.create("sqlite", database=":memory:" if path is None else str(path)),
        hide_parameters=True,  # an error's text gets into logs: no spec may
        poolclass=StaticPool if path is None else QueuePool,
        # Without an isolation level the driver begins no transaction of its own: `_begin` does.
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS, "isolation_level": None},
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: Any, _: object) -> None:
    # FULL: in WAL mode NORMAL would lose answered writes when the machine, not only the process, dies.
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


@contextmanager
def _opening(path: Path | None) -> Iterator[None]:
    """Let one process at a time open a file: neither the change to WAL nor the schema is made twice."""
    if path is None:
        yield
        return
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path.touch(mode=0o600)  # SQLite gives its other files the same mode
        yield
    finally:
        os.close(lock)


def _migrate(engine: Engine, path: Path | None) -> None:
    with engine.connect() as connection:
        connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
    with writing(engine).begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        unknown = set(MigrationContext.configure(connection).get_current_heads()) - known
        if unknown:
            raise CannotOpenError(f"{path} was written by a newer igw (schema {', '.join(sorted(unknown))})")
        command.upgrade(config, "head")
