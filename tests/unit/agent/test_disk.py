"""The agent's file: whole contents in and out, whatever happens to the process or the file."""

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from igw_agent.cache import Contents
from igw_agent.disk import Disk, Saved, TakenError

from tests.unit.agent.talk import CLUSTER, ENDPOINTS, kept

ONE = {**kept(CLUSTER, a="1", b="1"), **kept(ENDPOINTS, a="1")}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """An open file that is new, at a time of the test's own."""
    made = Disk(tmp_path / "envoy", "zone", lambda: 1000.0)
    assert made.load() == Saved({}, 0)
    yield made
    made.close()


def again(folder: Path, zone: str = "zone") -> Saved:
    """Give what a later process finds."""
    later = Disk(folder, zone)
    try:
        return later.load()
    finally:
        later.close()


def test_round_trip(disk: Disk, tmp_path: Path) -> None:
    """What was saved last is there, and when it was; only what differs is written."""
    assert disk.save(ONE) == 3
    two = {**kept(CLUSTER, a="2", c="1"), **kept(ENDPOINTS, a="1")}
    assert disk.save(two) == 3  # a is put, c too, b dropped
    assert disk.save(dict(two)) == 0
    disk.close()
    assert again(tmp_path / "envoy") == Saved(two, 1000.0)


def test_nobody_else_may_read_it(disk: Disk, tmp_path: Path) -> None:
    """The folder and all files in it are their owner's, also a file that somebody opened to others."""
    disk.save(ONE)
    path = tmp_path / "envoy" / "config.db"
    assert {file.name for file in path.parent.iterdir()} == {
        "config.db",
        "config.db-shm",
        "config.db-wal",
        "lock",
    }
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    disk.close()
    path.chmod(0o644)
    again(path.parent)
    assert path.stat().st_mode & 0o777 == 0o600


def test_another_zone(disk: Disk, tmp_path: Path) -> None:
    """It is not used, and stays until there is something of this zone to keep: a slip of the pen costs nothing."""
    disk.save(ONE)
    disk.close()
    assert again(tmp_path / "envoy", "elsewhere") == Saved({}, 0)
    assert again(tmp_path / "envoy").contents == ONE
    moved = Disk(tmp_path / "envoy", "elsewhere")
    moved.load()
    moved.save(kept(CLUSTER, a="1"))
    moved.close()
    assert again(tmp_path / "envoy", "elsewhere").contents == kept(CLUSTER, a="1")
    assert again(tmp_path / "envoy").contents == {}


def test_another_schema(disk: Disk, tmp_path: Path) -> None:
    """A later version's file is set aside, not read and not lost."""
    disk.save(ONE)
    disk.close()
    path = tmp_path / "envoy" / "config.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert again(path.parent).contents == {}
    with sqlite3.connect(f"{path}.set-aside") as database:
        assert database.execute("PRAGMA user_version").fetchall() == [(99,)]
    database.close()


@pytest.mark.parametrize("damage", ["text", "pages", "cut"])
def test_a_damaged_file(disk: Disk, tmp_path: Path, damage: str) -> None:
    """It is set aside, and a new one is begun that holds what is put into it."""
    many = {key: k for i in range(500) for key, k in kept(CLUSTER, **{f"c{i}": "1" * 50}).items()}
    disk.save(many)
    disk.close()
    path = tmp_path / "envoy" / "config.db"
    content = path.read_bytes()
    damaged = {
        "text": b"no database " * 1000,
        "pages": content[:8192] + b"\xff" * 8192 + content[16384:],
        "cut": content[: len(content) // 2],
    }[damage]
    path.write_bytes(damaged)
    later = Disk(path.parent, "zone")
    assert later.load().contents == {}
    assert path.with_name("config.db.set-aside").read_bytes()[8192:] == damaged[8192:]
    later.save(ONE)
    later.close()
    assert again(path.parent).contents == ONE


def test_a_file_that_is_damaged_while_it_is_used(disk: Disk, tmp_path: Path) -> None:
    """The next write begins anew, with all."""
    many = {key: k for i in range(500) for key, k in kept(CLUSTER, **{f"c{i}": "1" * 50}).items()}
    disk.save(many)
    path = tmp_path / "envoy" / "config.db"
    for file in (path, path.with_name("config.db-wal")):
        file.write_bytes(b"\xff" * file.stat().st_size)
    assert disk._database is not None
    disk._database.close()
    disk._database = sqlite3.connect(path, isolation_level=None)  # one that has none of its pages in memory
    disk.save({**many, **ONE})
    disk.close()
    assert again(path.parent).contents == {**many, **ONE}


def test_a_file_that_cannot_be_read_yet(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a full disk: nothing of an earlier Envoy is left in it once it can be written."""
    disk.save(ONE)
    disk.close()
    monkeypatch.setattr("igw_agent.disk.BUSY_SECONDS", 0)
    busy = sqlite3.connect(tmp_path / "envoy" / "config.db", isolation_level=None)
    busy.executescript("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
    later = Disk(tmp_path / "envoy", "zone")
    with pytest.raises(sqlite3.OperationalError):
        later.load()
    busy.close()
    other = kept(CLUSTER, z="1")
    later.save(other)
    later.close()
    assert again(tmp_path / "envoy").contents == other


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """It is the caller's to say so."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Disk(tmp_path / "file" / "envoy", "zone").load()


def test_two_with_one_node_id(disk: Disk, tmp_path: Path) -> None:
    """The second reads what there is and writes nothing, until the first is gone; then all of its own."""
    disk.save(ONE)
    second = Disk(tmp_path / "envoy", "zone")
    assert second.load() == Saved(ONE, 1000.0)
    other = kept(CLUSTER, z="1")
    with pytest.raises(TakenError, match="node-id"):
        second.save(other)
    disk.close()
    second.save(other)
    second.close()
    assert again(tmp_path / "envoy").contents == other


WRITER = """
import itertools, sys
from pathlib import Path
from igw_agent.disk import Disk
from tests.unit.agent.test_disk import state
disk = Disk(Path(sys.argv[1]), "zone")
disk.load()
for number in itertools.count():
    disk.save(state(number))
    print(number, flush=True)
"""


def state(number: int) -> Contents:
    """Give contents of which every part says which they are."""
    return {
        key: k
        for url in (CLUSTER, ENDPOINTS)
        for key, k in kept(url, **{f"c{i}": str(number) for i in range(number % 7, 200)}).items()
    }


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """A process that is killed at any moment leaves one of the states that it saved, whole; not older than told."""
    for delay in (0.02, 0.05, 0.09):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "envoy")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        told = [int(line) for line in writer.stdout]
        writer.stdout.close()
        writer.wait()
        found = again(tmp_path / "envoy").contents
        numbers = {int(k.version) for k in found.values()}
        assert len(numbers) == 1
        [number] = numbers
        assert found == state(number)
        assert number >= max(told, default=0)
        shutil.rmtree(tmp_path / "envoy")
