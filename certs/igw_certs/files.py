"""Files that certificates lie in: read with bounds, and put in place whole; nobody sees half of one.

What they hold is not looked at here.
"""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

MOST_BYTES = 256 * 1024
"""A chain of ten certificates is some 20 KB."""
PUBLIC = 0o644
PRIVATE = 0o600

Signature = tuple[int, int, int, int, int] | None
"""What tells that a file was replaced or written to: device, inode, size, times. None: it is not there."""


class UnreadableError(Exception):
    """A file cannot be used; the text says why, and begins with the file's name."""


def content(path: Path) -> bytes:
    """Read a regular file of at most 256 KiB. Raises UnreadableError."""
    try:
        # Not blocking: a pipe in a file's place would be waited for, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            read = _bounded(path, descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise UnreadableError(f"{path.name} is missing") from None
    except OSError as error:
        raise UnreadableError(f"{path.name} cannot be read: {error.strerror}") from None
    if len(read) > MOST_BYTES:
        raise UnreadableError(f"{path.name} has more than {MOST_BYTES // 1024} KiB")
    return read


def _bounded(path: Path, descriptor: int) -> bytes:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise UnreadableError(f"{path.name} is not a file")
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        return file.read(MOST_BYTES + 1)


def signature(path: Path) -> Signature:
    """Give what changes with a file's content; links are followed. Reads nothing."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def place(folder: Path, contents: Mapping[str, tuple[bytes, int]]) -> None:
    """Put files, each by name with content and mode, in a folder; all are written before the first is in place.

    What was there, a link too, is replaced; who owned it, and the group that could read it, still can. Raises OSError:
    then none is in place, or those before the one that failed.
    """
    drafts: dict[Path, Path] = {}
    try:
        for name, (data, mode) in contents.items():
            draft = folder / f".{name}.{secrets.token_hex(8)}"
            drafts[folder / name] = draft
            _write(draft, data, mode, folder / name)
        for path, draft in drafts.items():
            draft.replace(path)
        _sync(folder)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _write(path: Path, data: bytes, mode: int, former: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode | _given(descriptor, former))  # whatever the umask
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _given(descriptor: int, former: Path) -> int:
    """Give a new file to the owner of the former one, and say what its group could do: services may run as either."""
    try:
        was = former.lstat()
    except FileNotFoundError:
        return 0
    now = os.fstat(descriptor)
    if not stat.S_ISREG(was.st_mode):
        return 0
    if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
        try:
            os.fchown(descriptor, was.st_uid, was.st_gid)
        except PermissionError as error:
            reason = f"{former.name} belongs to the user {was.st_uid}: run this as that one or as root"
            raise PermissionError(error.errno, reason) from None
    return was.st_mode & stat.S_IRGRP if not was.st_mode & stat.S_IROTH else 0


def _sync(folder: Path) -> None:
    """Let the names survive a power failure, as their contents do."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
