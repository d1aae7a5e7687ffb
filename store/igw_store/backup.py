"""A store's file: copied whole while it is written, a copy checked, and a copy put in the store's place. SQLite only.

A copy is one file, mode 0600, with the secrets of gateways encrypted as they are in the store: the key is not in it.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from alembic.script import ScriptDirectory

from igw_store.cipher import Cipher

_MIGRATIONS = Path(__file__).parent / "migrations"
_WAIT_SECONDS = 10
_SHARED_LOCKS = (0x4000_0002, 510)
"""Where every open connection holds a lock in WAL mode: https://www.sqlite.org/fileformat2.html#the_lock_byte_page."""
_SIDE_FILES = ("-wal", "-shm", "-journal")
_LOCK = ".lock"


class BackupError(Exception):
    """What cannot be copied or put back, and why."""


class InUseError(BackupError):
    """A process has the store open."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a copy: its schema, its gateways, deployments and claims, and how many have a secret."""

    schema: str
    objects: int
    secrets: int


def back_up(database: Path, copy: Path, *, replace: bool) -> Contents:
    """Write what a store holds at one moment to a new file, whole or not at all; writers go on. Raises BackupError."""
    if not database.is_file():
        raise BackupError(f"there is no store: {database}")
    with _explained(f"{database} cannot be copied to {copy}"), _draft(copy) as draft:
        with closing(_reading(database)) as source, closing(sqlite3.connect(draft)) as target:
            source.backup(target)  # in one step: one snapshot, however much is written meanwhile
            target.execute("PRAGMA journal_mode=DELETE")  # one file; the store's own mode needs two more
        contents = inspect(draft)
        install(draft, copy, replace=replace)
    return contents


def own_files(database: Path) -> tuple[Path, ...]:
    """Give the files that make up a store, whether they are there or not: no copy may take their place."""
    return (database, *(database.with_name(database.name + suffix) for suffix in (*_SIDE_FILES, _LOCK)))


def inspect(copy: Path) -> Contents:
    """Check a copy: a whole database, a store of a schema that is known here. Changes nothing. Raises BackupError."""
    if not copy.is_file():
        raise BackupError(f"there is no file {copy}")
    log = copy.with_name(f"{copy.name}-wal")
    if log.exists() and log.stat().st_size:
        raise BackupError(f"{copy} is not whole without {log.name}: copies are made with `igw store backup`")
    with _explained(f"{copy} is damaged or no store"), closing(_opened(copy, "immutable=1")) as connection:
        _check_pages(connection, copy)
        return Contents(
            _schema(connection, copy),
            _number(connection, "SELECT count(*) FROM objects"),
            _number(connection, "SELECT count(*) FROM objects WHERE api_key IS NOT NULL"),
        )


def check_key(copy: Path, cipher: Cipher) -> None:
    """Check that a key opens every secret of a copy. Raises CipherError and BackupError."""
    with _explained(f"{copy} cannot be read"), closing(_opened(copy, "immutable=1")) as connection:
        for gateway, sealed in connection.execute(
            "SELECT id, api_key FROM objects WHERE api_key IS NOT NULL"
        ):
            cipher.unseal(gateway, sealed)


def drop_secrets(copy: Path) -> None:
    """Take the secrets out of a copy, for want of their key; the gateways stay. Raises BackupError."""
    with _explained(f"{copy} cannot be changed"), closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("UPDATE objects SET api_key = NULL")


@contextlib.contextmanager
def alone(database: Path) -> Iterator[None]:
    """Keep a store that nobody has open from being opened. Raises InUseError.

    Who opens a store takes the same lock first (`database.open_database`, `back_up`), and waits.
    """
    with _explained(f"{database} cannot be locked"), _lock(database) as lock:
        if not (_taken(lock) and _unused(database)):
            raise InUseError(f"{database} is in use: stop the control plane (`igw xds`) first")
        yield


def set_aside(database: Path, key: Path, now: datetime) -> Path | None:
    """Keep what a store holds, and its key, in a folder beside it, whose path is given; None without a store.

    Call it inside `alone`. The store's file stays where it is until it is replaced, so there is a store at every
    moment. Raises BackupError.
    """
    if not database.exists():
        return None
    folder = database.parent / f"before-restore-{now:%Y%m%dT%H%M%S.%fZ}"
    with _explained(f"{database} cannot be kept in {folder}"):
        folder.mkdir(mode=0o700)
        _give_to_owner(folder)
        # What a killed process left in the log belongs to the file; a damaged file is kept beside its log.
        with contextlib.suppress(sqlite3.Error), closing(_opened(database, "mode=rw")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for file in (database, key):
            if file.exists():
                (folder / file.name).hardlink_to(file)
        for beside in (database.with_name(database.name + suffix) for suffix in _SIDE_FILES):
            if beside.exists():
                beside.rename(folder / beside.name)
        _sync(folder)
    return folder


@contextlib.contextmanager
def draft_of(source: Path, place: Path) -> Iterator[Path]:
    """Give a private copy of a file beside its later place; gone at the end, if not installed. Raises BackupError."""
    with _explained(f"{source} cannot be copied to {place.parent}"), _draft(place) as draft:
        shutil.copyfile(source, draft)
        yield draft


def install(draft: Path, place: Path, *, replace: bool) -> None:
    """Put a file into its place at once and durably, its owner that of the folder. Raises OSError."""
    _give_to_owner(draft)
    _sync(draft)
    if replace:
        draft.replace(place)
    else:
        place.hardlink_to(draft)  # unlike a rename it replaces nothing
    _sync(place.parent)


@contextlib.contextmanager
def _draft(place: Path) -> Iterator[Path]:
    draft = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _give_to_owner(path: Path) -> None:
    """Let what root made belong to the folder's owner, who is to use it."""
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)


@contextlib.contextmanager
def _lock(database: Path) -> Iterator[int]:
    """Give the file to lock, not locked yet; what was locked is free at the end."""
    place = database.with_name(database.name + _LOCK)
    lock = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _give_to_owner(place)
        yield lock
    finally:
        os.close(lock)


def _reading(database: Path) -> sqlite3.Connection:
    """Open a store for reading, so that from here on nothing is put in its place.

    One that was opened on the way would delete the new store's log with the old one's: SQLite knows it by its name.
    """
    with _lock(database) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        source = _opened(database, "mode=rw")
        try:
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens it, which `_unused` sees
        except sqlite3.Error:
            source.close()
            raise
        return source


def _opened(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=_WAIT_SECONDS)


def _check_pages(connection: sqlite3.Connection, copy: Path) -> None:
    [(first, *_), *_] = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if first != "ok":
        raise BackupError(f"{copy} is damaged: {first}")


def _schema(connection: sqlite3.Connection, copy: Path) -> str:
    [(schema,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    known = {script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()}
    if schema not in known:
        raise BackupError(
            f"{copy} was written by a newer igw (schema {schema}; known here: {', '.join(sorted(known))}): "
            "use that version or a newer one"
        )
    return str(schema)


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unused(database: Path) -> bool:
    if not database.exists():
        return True
    file = os.open(database, os.O_RDWR | os.O_CLOEXEC)
    try:
        start, length = _SHARED_LOCKS
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
    except (BlockingIOError, PermissionError):
        return False
    finally:
        os.close(file)
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        there = error.filename2 or error.filename
        raise BackupError(f"{what}: {there} is there already: choose another name, or --replace") from None
    except OSError as error:
        raise BackupError(f"{what}: {error.strerror}") from None
    except (sqlite3.Error, ValueError) as error:
        raise BackupError(f"{what}: {error}") from None
