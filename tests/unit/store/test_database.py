"""The store's file: its schema made and brought up to date, and files that are refused."""

import asyncio
import fcntl
import re
import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from igw_store.cipher import Cipher
from igw_store.database import CannotOpenError, open_database
from igw_store.sqlite import open_store
from igw_store.tables import METADATA
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

ALEMBIC = (
    "alembic_version",
    "CREATE TABLE alembic_version ( version_num VARCHAR(32) NOT NULL, "  # noqa: ISC004 - one text
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num) )",
)


def schema(path: Path) -> set[tuple[str, str]]:
    """Give a file's tables and indexes as SQLite has them."""
    with sqlite3.connect(path) as raw:
        found = raw.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    raw.close()
    return {(name, re.sub(r"\s+", " ", sql)) for name, sql in found}


def version(path: Path, value: str | None = None) -> str:
    """Give the version that a file says its schema has, changed to `value` first."""
    with sqlite3.connect(path) as raw:
        if value is not None:
            raw.execute("UPDATE alembic_version SET version_num = ?", [value])
        [(found,)] = raw.execute("SELECT version_num FROM alembic_version").fetchall()
    raw.close()
    return str(found)


def test_migrations_make_the_tables_of_the_code(tmp_path: Path) -> None:
    """From nothing, all steps lead to the tables that the queries know, indexes too."""
    engine = open_database(tmp_path / "s.db")
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()
    engine = create_engine(f"sqlite:///{tmp_path / 'code.db'}")
    METADATA.create_all(engine)
    engine.dispose()
    assert schema(tmp_path / "s.db") - schema(tmp_path / "code.db") == {ALEMBIC}
    assert schema(tmp_path / "code.db") <= schema(tmp_path / "s.db")


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    """A file of the present version is left as it is."""
    path = tmp_path / "s.db"
    open_database(path).dispose()
    before = schema(path)
    open_database(path).dispose()
    assert (schema(path), version(path)) == (before, "0001")


def test_an_empty_file(tmp_path: Path) -> None:
    """A file of no bytes, as a process leaves that was killed at its first start, is made a store."""
    path = tmp_path / "s.db"
    path.touch()
    open_database(path).dispose()
    assert version(path) == "0001"


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """An older igw does not touch what it does not know, and says why."""
    path = tmp_path / "s.db"
    open_database(path).dispose()
    version(path, "0099")
    with pytest.raises(CannotOpenError, match=re.escape(f"{path} was written by a newer igw (schema 0099)")):
        open_database(path)
    assert version(path) == "0099"


async def test_files_that_cannot_be_opened(tmp_path: Path, cipher: Cipher) -> None:
    """No database, no folder, a folder: one error that names the file."""
    (tmp_path / "text.db").write_text("no database " * 100)
    (tmp_path / "folder.db").mkdir()
    for name, reason in (
        ("text.db", "file is not a database"),
        ("none/s.db", "No such file or directory"),
        ("folder.db", "unable to open database file"),
    ):
        with pytest.raises(CannotOpenError, match=f"{tmp_path}/{name} cannot be opened: {reason}"):
            await open_store(tmp_path / name, cipher)


async def test_one_process_opens_at_a_time(tmp_path: Path, cipher: Cipher) -> None:
    """While another process is making the file, nothing is done to it."""
    with (tmp_path / "s.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        opening = asyncio.create_task(open_store(tmp_path / "s.db", cipher))
        await asyncio.sleep(0.2)
        assert (opening.done(), sorted(modes_in(tmp_path))) == (False, ["s.db.lock"])
    await (await opening).aclose()


def modes_in(folder: Path) -> dict[str, int]:
    """Give the mode of each file."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_only_the_owner_may_read(tmp_path: Path, cipher: Cipher) -> None:
    """All of the store's files have mode 0600: specs and events are nobody else's business."""
    store = await open_store(tmp_path / "s.db", cipher)
    modes = modes_in(tmp_path)
    await store.aclose()
    assert modes == dict.fromkeys(["s.db", "s.db-wal", "s.db-shm", "s.db.lock"], 0o600)


def test_an_error_does_not_show_values() -> None:
    """What fails may be logged with its error, and a spec may not."""
    engine = open_database(None)
    with engine.connect() as connection, pytest.raises(OperationalError) as raised:
        connection.execute(text("INSERT INTO nowhere VALUES (:spec)"), {"spec": "the spec"})
    engine.dispose()
    assert ("nowhere" in str(raised.value), "the spec" in str(raised.value)) == (True, False)
