"""`igw store backup` and `restore`: real files, real processes that write and that serve meanwhile."""

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from igw_model.record import Kind
from igw_store.backup import alone, back_up
from igw_store.cipher import Cipher
from igw_store.sqlite import SqliteStore, open_store
from pydantic import SecretStr

from tests.builders import gateway_id
from tests.unit.cli.program import igw, run
from tests.unit.store.records import gateway_record
from tests.unit.store.test_processes import process, said, whole

KEY = SecretStr("a-key-of-wandb")


async def opened(folder: Path) -> SqliteStore:
    """Give the store of a state folder."""
    return await open_store(folder / "gateway.db", Cipher.from_file(folder / "store.key"))


def made(folder: Path) -> Path:
    """Give a folder, made if it is not there."""
    folder.mkdir(exist_ok=True)
    return folder


def inside(folder: Path) -> list[str]:
    """Give the names in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def fill(folder: Path, *numbers: int, key: SecretStr | None = None) -> Path:
    """Put gateways into the store of a folder."""
    made(folder)
    store = await opened(folder)
    for number in numbers:
        record = gateway_record(number, {"weightsAndBiasesAuth": {}}, api_key=key)
        await store.write(lambda w, r=record: w.put(r))  # type: ignore[misc]
    await store.aclose()
    return folder


async def names(folder: Path) -> list[str]:
    """Give the names of the gateways in a folder's store."""
    store = await opened(folder)
    found = await store.read(lambda view: view.list(Kind.GATEWAY, None))
    await store.aclose()
    return sorted(record.name for record in found)


async def kept_key(folder: Path, number: int = 1) -> SecretStr | None:
    """Give the W&B key of a gateway in a folder's store."""
    store = await opened(folder)
    record = await store.read(lambda view: view.get(Kind.GATEWAY, gateway_id(number)))
    await store.aclose()
    assert record is not None
    return record.api_key


def modes(*paths: Path) -> list[int]:
    """Give the permissions of files."""
    return [path.stat().st_mode & 0o777 for path in paths]


@contextmanager
def control_plane(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a control plane on a folder's store; it serves when this is entered, and is gone at the end."""
    ports = ("--port=0", "--ops-port=0", "--no-api")
    command = [sys.executable, "-m", "igw_cli", "xds", *ports, "--state-dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as started:
        try:
            assert started.stdout is not None
            for line in started.stdout:
                if "listening" in line:
                    break
            assert started.poll() is None
            yield started
        finally:
            started.kill()


async def test_there_and_back(tmp_path: Path) -> None:
    """A backup is one file that only its owner may read; restored elsewhere with the key it gives all back."""
    state = await fill(tmp_path / "state", 1, 2, key=KEY)
    file, key, other = tmp_path / "b" / "store.backup", tmp_path / "key", tmp_path / "other"
    file.parent.mkdir()
    done = run("store", "backup", file, "--state-dir", state, "--key-to", key)
    assert (done.status, done.err) == (0, "")
    assert done.lines == [
        f"backed up 2 object(s), schema 0001, to {file}",
        f"and the key of its secrets to {key}: keep it apart from the backup",
    ]
    assert inside(file.parent) == [file.name]
    assert modes(file, key) == [0o600, 0o600]
    assert KEY.get_secret_value().encode() not in file.read_bytes()
    done = run("store", "restore", file, "--state-dir", other, "--key-from", key)
    assert (done.status, done.lines) == (0, ["restored 2 object(s), schema 0001, with 2 W&B key(s)"]), (
        done.err
    )
    assert modes(other, other / "gateway.db", other / "store.key") == [0o700, 0o600, 0o600]
    assert await names(other) == ["gateway-1", "gateway-2"]
    assert await kept_key(other) == KEY


async def test_as_json(tmp_path: Path) -> None:
    """`--json` prints one document: what is in the backup, and where everything is."""
    state = await fill(tmp_path / "state", 1, key=KEY)
    file = tmp_path / "backup"
    done = run("store", "backup", file, "--json", IGW_STATE_DIR=str(state))
    contents = {"schema": "0001", "objects": 1, "secrets": 1}
    assert json.loads(done.out) == {"file": str(file), **contents, "keyFile": None}
    done = run("store", "restore", file, "--json", "--state-dir", state)
    restored = json.loads(done.out)
    former = Path(restored.pop("former"))
    assert restored == {"stateDir": str(state), **contents}
    assert (former.parent, inside(former)) == (state, ["gateway.db", "store.key"])


async def test_the_former_store_is_kept(tmp_path: Path) -> None:
    """What a restore replaces is a whole state folder of its own: igw can use it, or restore from it."""
    state = await fill(tmp_path / "state", 1, key=KEY)
    file = tmp_path / "backup"
    run("store", "backup", file, "--state-dir", state)
    await fill(state, 2)
    done = run("store", "restore", file, "--state-dir", state)
    former = Path(done.lines[1].removeprefix("what was there is in "))
    assert await names(state) == ["gateway-1"]
    assert modes(former, former / "gateway.db", former / "store.key") == [0o700, 0o600, 0o600]
    assert await names(former) == ["gateway-1", "gateway-2"]
    assert await kept_key(former) == KEY
    assert run("store", "restore", former / "gateway.db", "--state-dir", state).status == 0
    assert await names(state) == ["gateway-1", "gateway-2"]


async def test_under_writes(tmp_path: Path) -> None:
    """A backup made while another process writes holds one moment: whatever belongs together is there whole."""
    with process("write", tmp_path, 1) as writing:
        said(writing)
        # The writing process calls its store by another name.
        (tmp_path / "gateway.db").symlink_to(tmp_path / "store.db")
        seen = []
        for round_ in range(3):
            done = run("store", "backup", tmp_path / f"{round_}.backup", "--state-dir", tmp_path)
            assert done.status == 0, done.err
            seen.append(said(writing))
        assert all(seen), "writes went on"
    for round_ in range(3):
        folder = tmp_path / f"restored-{round_}"
        done = run("store", "restore", tmp_path / f"{round_}.backup", "--state-dir", folder)
        assert done.status == 0, done.err
        store = await opened(folder)
        assert len(await store.read(whole)) > 0
        await store.aclose()


async def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """Neither the backup nor the key, but with --replace."""
    state = await fill(tmp_path / "state", 1)
    file, key = tmp_path / "backup", tmp_path / "key"
    for there, other in ((file, key), (key, file)):
        there.write_text("mine")
        other.unlink(missing_ok=True)
        done = run("store", "backup", file, "--key-to", key, "--state-dir", state)
        assert (done.status, there.read_text()) == (1, "mine")
        assert re.search(f"{there} is there already: .*--replace", done.err.replace("\n", " "))
    assert run("store", "backup", file, "--key-to", key, "--replace", "--state-dir", state).status == 0
    assert key.read_bytes() == (state / "store.key").read_bytes()
    assert inside(tmp_path) == ["backup", "key", "state"]


@pytest.mark.parametrize(
    "name", ["gateway.db", "gateway.db-wal", "gateway.db.lock", "store.key", "admin-token"]
)
async def test_a_backup_replaces_nothing_of_the_store(name: str, tmp_path: Path) -> None:
    """A slip in a path, by whatever way, must not cost the store that was to be saved, --replace or not."""
    state = await fill(tmp_path / "state", 1)
    before = {file: (state / file).read_bytes() for file in inside(state)}
    (tmp_path / "link").symlink_to(state)
    for folder in (state, tmp_path / "link", tmp_path / "link" / ".." / "state"):
        for arguments in ((folder / name,), (tmp_path / "b", "--key-to", folder / name)):
            done = run("store", "backup", *arguments, "--replace", "--state-dir", state)
            assert (done.status, "files of the store" in done.err) == (2, True)
    assert {file: (state / file).read_bytes() for file in inside(state)} == before
    assert await names(state) == ["gateway-1"]


async def test_the_key_is_not_written_over_the_backup(tmp_path: Path) -> None:
    """One file cannot be both."""
    state = await fill(tmp_path / "state", 1)
    done = run(
        "store", "backup", tmp_path / "b", "--key-to", tmp_path / "b", "--replace", "--state-dir", state
    )
    assert (done.status, "same file" in done.err, inside(tmp_path)) == (2, True, ["state"])


async def test_a_backup_waits_for_a_restore(tmp_path: Path) -> None:
    """Opened in the middle of it, it would take the log of the new store for that of the old one, and delete it."""
    state = await fill(tmp_path / "state", 1)
    arguments = (state / "gateway.db", tmp_path / "backup")
    with alone(state / "gateway.db"):
        backing_up = asyncio.create_task(asyncio.to_thread(back_up, *arguments, replace=False))
        await asyncio.sleep(0.5)
        assert not backing_up.done()
    assert (await backing_up).objects == 1


async def test_a_control_plane_that_runs(tmp_path: Path) -> None:
    """It can be backed up and not restored over; stopped or killed, it can."""
    state = await fill(tmp_path / "state", 1)
    file = tmp_path / "backup"
    with control_plane(state) as running:
        assert igw("store", "backup", file, "--state-dir", state).returncode == 0
        done = igw("store", "restore", file, "--state-dir", state)
        assert done.returncode == 5
        assert f"{state}/gateway.db is in use: stop the control plane (`igw xds`) first" in done.stderr
        assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        running.wait(20)
    assert igw("store", "restore", file, "--state-dir", state).returncode == 0
    with control_plane(state) as running:
        running.kill()
        running.wait(20)
    assert igw("store", "restore", file, "--state-dir", state).returncode == 0
    assert await names(state) == ["gateway-1"]


async def test_what_a_killed_process_left_in_the_log_is_kept(tmp_path: Path) -> None:
    """Writes that are in the write-ahead log alone are in a backup, and in the former store of a restore."""
    with process("write", tmp_path, 1) as writing:
        answered = int(said(writing))
        writing.kill()
        writing.wait(20)
    state = made(tmp_path / "state")
    for name in ("store.db", "store.db-wal"):
        shutil.copy(tmp_path / name, state / name.replace("store.db", "gateway.db"))
    shutil.copy(tmp_path / "store.key", state)
    empty = await fill(tmp_path / "empty")
    run("store", "backup", tmp_path / "nothing", "--state-dir", empty)
    done = run("store", "restore", tmp_path / "nothing", "--state-dir", state, "--json")
    former = Path(json.loads(done.out)["former"])
    assert inside(former) == ["gateway.db", "store.key"]
    assert await names(state) == []
    assert f"gateway-{answered}" in await names(former)


class TestKeys:
    """A backup with secrets is restored with the key that opens them, or expressly without them."""

    @pytest.fixture
    async def file(self, tmp_path: Path) -> Path:
        """Give a backup with one secret."""
        state = await fill(tmp_path / "state", 1, key=KEY)
        run("store", "backup", tmp_path / "backup", "--state-dir", state)
        return tmp_path / "backup"

    async def test_no_key(self, file: Path, tmp_path: Path) -> None:
        """Without any key nothing is made, and the error names the option."""
        done = igw("store", "restore", file, "--state-dir", tmp_path / "new")
        assert (done.returncode, (tmp_path / "new").exists()) == (1, False)
        assert f"there is no {tmp_path}/new/store.key" in done.stderr
        assert "--key-from FILE; if it is lost: --drop-keys" in done.stderr

    async def test_wrong_key(self, file: Path, tmp_path: Path) -> None:
        """Another store's key, its own or a given one, changes nothing."""
        other = await fill(tmp_path / "other", 7)
        before = (other / "gateway.db").read_bytes()
        for more in ((), ("--key-from", other / "store.key")):
            done = igw("store", "restore", file, "--state-dir", other, *more)
            assert done.returncode == 1
            assert f"the key in {other}/store.key is not the one" in done.stderr
            assert "--key-from FILE" in done.stderr
        assert (other / "gateway.db").read_bytes() == before
        assert await names(other) == ["gateway-7"]

    async def test_a_key_that_others_may_read(self, file: Path, tmp_path: Path) -> None:
        """It is refused as the control plane refuses it."""
        (tmp_path / "state" / "store.key").chmod(0o640)
        done = igw("store", "restore", file, "--state-dir", tmp_path / "state")
        assert (done.returncode, "chmod 600" in done.stderr) == (1, True)

    async def test_lost(self, file: Path, tmp_path: Path) -> None:
        """With --drop-keys the gateways come back without their keys, which are not in the file either."""
        done = run("store", "restore", file, "--drop-keys", "--state-dir", tmp_path / "new")
        assert done.lines == ["restored 1 object(s), schema 0001, with 0 W&B key(s)"]
        assert await names(tmp_path / "new") == ["gateway-1"]
        assert await kept_key(tmp_path / "new") is None

    def test_both(self, file: Path, tmp_path: Path) -> None:
        """--key-from and --drop-keys exclude each other."""
        done = run(
            "store", "restore", file, "--drop-keys", "--key-from", file, "--state-dir", tmp_path / "new"
        )
        assert (done.status, (tmp_path / "new").exists()) == (2, False)


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4096])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _text(file: Path) -> None:
    file.write_text("not a database, but long enough to be read as if it were one " * 20)


def _scramble(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096 * 2 : 4096 * 3] = b"\xff" * 4096
    file.write_bytes(content)


def _newer(file: Path) -> None:
    with sqlite3.connect(file) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()


def _other_database(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as raw:
        raw.execute("CREATE TABLE t (x)")
    raw.close()


def _log_beside(file: Path) -> None:
    file.with_name(f"{file.name}-wal").write_bytes(b"something")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_truncate, "is damaged"),
        (_empty, "is damaged or no store"),
        (_text, "is damaged or no store: file is not a database"),
        (_scramble, "is damaged"),
        (
            _newer,
            "was written by a newer igw (schema 9999; known here: 0001): use that version or a newer one",
        ),
        (_other_database, "is damaged or no store: no such table"),
        (_log_beside, "is not whole without backup-wal"),
        (Path.unlink, "there is no file"),
    ],
)
async def test_a_file_that_is_no_whole_backup(damage: object, reason: str, tmp_path: Path) -> None:
    """It is refused with the reason, and the store that is there is not touched."""
    state = await fill(tmp_path / "state", *range(1, 20))
    file = tmp_path / "backup"
    run("store", "backup", file, "--state-dir", state)
    assert callable(damage)
    damage(file)
    before = (state / "gateway.db").read_bytes()
    done = igw("store", "restore", file, "--state-dir", state)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert str(file) in done.stderr
    assert (state / "gateway.db").read_bytes() == before
    assert not list(state.glob("before-restore-*"))


async def test_over_a_damaged_store(tmp_path: Path) -> None:
    """A store that no longer opens is what a restore is for; it is kept as it was."""
    state = await fill(tmp_path / "state", 1)
    file = tmp_path / "backup"
    run("store", "backup", file, "--state-dir", state)
    _text(state / "gateway.db")
    damaged = (state / "gateway.db").read_bytes()
    done = run("store", "restore", file, "--state-dir", state, "--json")
    assert done.status == 0, done.err
    assert (Path(json.loads(done.out)["former"]) / "gateway.db").read_bytes() == damaged
    assert await names(state) == ["gateway-1"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_restored_by_root(tmp_path: Path) -> None:
    """All that root puts into a service's folder belongs to the service, which could not start otherwise."""
    state = await fill(tmp_path / "state", 1)
    run("store", "backup", tmp_path / "backup", "--state-dir", state)
    shutil.copy(state / "store.key", tmp_path / "key")
    shutil.rmtree(state)
    made(state)
    os.chown(state, 10001, 10001)
    for _ in range(2):
        arguments = ("--state-dir", state, "--key-from", tmp_path / "key")
        assert run("store", "restore", tmp_path / "backup", *arguments).status == 0
    assert {(path.stat().st_uid, path.stat().st_gid) for path in state.glob("**/*")} == {(10001, 10001)}


async def test_nothing_to_back_up(tmp_path: Path) -> None:
    """Without a store nothing is written."""
    done = igw("store", "backup", tmp_path / "backup", "--state-dir", tmp_path)
    assert done.returncode == 1
    assert f"there is no store: {tmp_path}/gateway.db" in done.stderr
    assert inside(tmp_path) == []


async def test_a_backup_of_a_damaged_store_is_not_kept(tmp_path: Path) -> None:
    """What would not be restored is no backup: it fails, and leaves no file."""
    state = await fill(tmp_path / "state", *range(1, 20))
    _scramble(state / "gateway.db")
    done = run("store", "backup", tmp_path / "backup", "--state-dir", state)
    assert (done.status, inside(tmp_path)) == (1, ["state"])
    assert "damaged" in done.err
