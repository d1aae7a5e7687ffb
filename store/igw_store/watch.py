"""Definition files watched: the present state first, then one state for each burst of changes.

A broken edit gives a state with errors; what to do about it is the watcher's affair. Equal states are
not repeated.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from watchfiles import awatch

from igw_store.documents import definition_files
from igw_store.files import Loaded, load

Fingerprint = frozenset[tuple[Path, int, int]]


async def watch(
    paths: Sequence[Path], organization: str | None = None, stop: asyncio.Event | None = None
) -> AsyncIterator[Loaded]:
    """Yield what the files say, now and whenever it changes, until `stop` is set."""
    seen, state = _fingerprint(paths), load(paths, organization)
    yield state
    # Editors replace a file by renaming another over it: the folder sees that, a watch on the file does not.
    folders = {path if path.is_dir() else path.parent for path in paths}
    # The wake-up every two seconds serves file systems that report no events, and what changed between the
    # first load and the start of the watch; it reads nothing that kept its time and size.
    changes = awatch(
        *folders,
        stop_event=stop,
        debounce=200,
        step=50,
        recursive=False,
        rust_timeout=2000,
        yield_on_timeout=True,
    )
    async for _ in changes:
        present = _fingerprint(paths)
        if present == seen:
            continue
        newer = await asyncio.to_thread(load, paths, organization)
        seen = present
        if newer != state:
            state = newer
            yield state


def _fingerprint(paths: Sequence[Path]) -> Fingerprint:
    """Say what the files look like; what cannot be looked at is left out, and is an error to `load`."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError):
            for file in definition_files(path):
                with contextlib.suppress(OSError):
                    stat = file.stat()
                    found.add((file, stat.st_mtime_ns, stat.st_size))
    return frozenset(found)
