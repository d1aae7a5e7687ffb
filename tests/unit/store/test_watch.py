"""Files watched: the whole state first, then one state for each change that matters. Real files and events."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_asyncio
from igw_model.definitions import Definitions
from igw_store.files import Loaded
from igw_store.watch import watch

from tests.builders import gateway, gateway_spec, write

ONE = Definitions((gateway(1),))
TWO = Definitions((gateway(2),))
SOON = 10
QUIET = 3
"""Longer than the watch's wake-up: what has not come by then does not come."""


class States:
    """The states of a watch, taken one at a time."""

    def __init__(self, states: AsyncIterator[Loaded]) -> None:
        self._states = states
        self._waiting: asyncio.Task[Loaded] | None = None

    async def next(self) -> Loaded:
        """Give the next state."""
        return await asyncio.wait_for(self._next(), SOON)

    async def no_more(self) -> bool:
        """Tell whether nothing comes for a while."""
        done, _ = await asyncio.wait([self._next()], timeout=QUIET)
        return not done

    def _next(self) -> asyncio.Task[Loaded]:
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.ensure_future(self._states.__anext__())
        return self._waiting


Watching = Callable[..., States]


@pytest_asyncio.fixture
async def watching() -> AsyncIterator[Watching]:
    """Give watches that end with the test."""
    stop = asyncio.Event()
    started: list[States] = []

    def start(*paths: Path, organization: str | None = None) -> States:
        started.append(States(watch(paths, organization, stop)))
        return started[-1]

    yield start
    stop.set()
    for states in started:
        waiting = states._next()
        await asyncio.wait([waiting], timeout=SOON)
        assert isinstance(waiting.exception(), StopAsyncIteration)


async def test_whole_state_first_then_a_change(tmp_path: Path, watching: Watching) -> None:
    """The present state comes at once; a changed file gives the whole state again."""
    path = write(tmp_path / "d.yaml", gateway_spec(1))
    states = watching(path)
    assert (await states.next()).definitions == ONE
    write(path, gateway_spec(2))
    assert (await states.next()).definitions == TWO


async def test_a_file_replaced_by_rename(tmp_path: Path, watching: Watching) -> None:
    """Editors and `mv` replace a file by another; that is seen each time."""
    path = write(tmp_path / "d.yaml", gateway_spec(1))
    states = watching(path)
    assert (await states.next()).definitions == ONE
    for number, state in ((2, TWO), (1, ONE)):
        write(tmp_path / "draft", gateway_spec(number)).replace(path)
        assert (await states.next()).definitions == state


async def test_a_broken_edit_gives_errors(tmp_path: Path, watching: Watching) -> None:
    """A broken file, a missing file and a mended one are states too; the watch goes on."""
    path = write(tmp_path / "d.yaml", gateway_spec(1))
    states = watching(path)
    assert (await states.next()).definitions == ONE
    path.write_text("kind: [", encoding="utf-8")
    assert "cannot be read" in str((await states.next()).errors)
    path.unlink()
    assert [e.reason for e in (await states.next()).errors] == ["no such file or folder"]
    write(path, gateway_spec(1))
    assert (await states.next()).definitions == ONE


async def test_equal_states_are_not_repeated(tmp_path: Path, watching: Watching) -> None:
    """Touching a file, rewriting it with the same content or changing a neighbour is no change."""
    path = write(tmp_path / "d.yaml", gateway_spec(1))
    states = watching(path)
    assert (await states.next()).definitions == ONE
    os.utime(path, (1, 1))
    write(tmp_path / "other.yaml", gateway_spec(3))
    write(path, gateway_spec(1))
    assert await states.no_more()
    write(path, gateway_spec(2))
    assert (await states.next()).definitions == TWO


async def test_files_come_and_go_in_a_folder(tmp_path: Path, watching: Watching) -> None:
    """A watched folder's new and removed files change the state."""
    write(tmp_path / "1.yaml", gateway_spec(1))
    states = watching(tmp_path)
    assert (await states.next()).definitions == ONE
    write(tmp_path / "2.yaml", gateway_spec(2))
    assert (await states.next()).definitions == Definitions((gateway(1), gateway(2)))
    (tmp_path / "1.yaml").unlink()
    assert (await states.next()).definitions == TWO


async def test_a_symbolic_link_that_is_moved(tmp_path: Path, watching: Watching) -> None:
    """Kubernetes swaps a link to change mounted files: no event on the file, yet it is seen."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        write(tmp_path / f"v{number}" / "d.yaml", gateway_spec(number))
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "data").symlink_to(tmp_path / "v1")
    (tmp_path / "mount" / "d.yaml").symlink_to(Path("data", "d.yaml"))
    states = watching(tmp_path / "mount")
    assert (await states.next()).definitions == ONE
    (tmp_path / "mount" / "new").symlink_to(tmp_path / "v2")
    (tmp_path / "mount" / "new").replace(tmp_path / "mount" / "data")
    assert (await states.next()).definitions == TWO


async def test_the_organisation_is_for_every_read(tmp_path: Path, watching: Watching) -> None:
    """A later read has the same setting as the first."""
    path = write(tmp_path / "d.yaml", gateway_spec(1, organizationId=None))
    states = watching(path, organization="acme")
    assert (await states.next()).definitions == ONE
    write(path, gateway_spec(2, organizationId=None))
    assert (await states.next()).definitions == TWO
