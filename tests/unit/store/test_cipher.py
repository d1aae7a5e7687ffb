"""Keys of gateways at rest: sealed to their gateway, with a key that only its owner can read."""

import asyncio
import stat
from pathlib import Path

import pytest
from igw_model.record import Kind
from igw_store.cipher import Cipher, CipherError
from igw_store.sqlite import open_store
from pydantic import SecretStr
from sqlalchemy import text

from tests.builders import gateway_id
from tests.unit.store.records import event, gateway_record, soon

SECRET = "a-key-of-40-characters-or-more-0123456789"
KEY = SecretStr(SECRET)


def test_sealed_and_unsealed(cipher: Cipher) -> None:
    """What was sealed for a gateway is unsealed for it alone; twice the same is not the same text."""
    sealed = cipher.seal("g1", KEY)
    assert cipher.unseal("g1", sealed) == KEY
    assert SECRET.encode() not in sealed
    assert cipher.seal("g1", KEY) != sealed
    with pytest.raises(CipherError, match="kept for gateway g2 is that of gateway g1"):
        cipher.unseal("g2", sealed)


def test_another_key(tmp_path: Path, cipher: Cipher) -> None:
    """The error says which file holds the wrong key, and no key."""
    wrong = Cipher.from_file(tmp_path / "key")
    with pytest.raises(CipherError, match=f"the key in {tmp_path}/key is not the one") as caught:
        wrong.unseal("g1", cipher.seal("g1", KEY))
    assert (tmp_path / "key").read_text().strip() not in str(caught.value)


def test_a_file_is_made_at_the_first_start(tmp_path: Path) -> None:
    """With mode 0600, nothing beside it, and the same key at the next start."""
    first, second = (Cipher.from_file(tmp_path / "key") for _ in range(2))
    assert second.unseal("g1", first.seal("g1", KEY)) == KEY
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_file_that_others_may_read(tmp_path: Path) -> None:
    """A key that is no secret is refused, with what to do."""
    path = tmp_path / "key"
    Cipher.from_file(path)
    path.chmod(0o640)
    with pytest.raises(CipherError, match=f"chmod 600 {path}"):
        Cipher.from_file(path)


def test_keys_that_are_none(tmp_path: Path) -> None:
    """The error names the file or the setting, and does not quote it."""
    path = tmp_path / "key"
    path.touch(0o600)
    for content in (b"short", b"\xff", b""):
        path.write_bytes(content)
        with pytest.raises(CipherError, match=str(path)) as caught:
            Cipher.from_file(path)
        assert "short" not in str(caught.value)
    with pytest.raises(CipherError, match=r"^IGW_STORE_KEY holds no key"):
        Cipher(SecretStr("ä"), "IGW_STORE_KEY")
    with pytest.raises(CipherError, match="none/key cannot be read or made"):
        Cipher.from_file(tmp_path / "none" / "key")


def test_it_hides_itself(tmp_path: Path) -> None:
    """A cipher's text is where its key came from."""
    cipher = Cipher.from_file(tmp_path / "key")
    assert repr(cipher) == f"Cipher(source='{tmp_path}/key')"


async def test_no_secret_in_the_file(tmp_path: Path, cipher: Cipher) -> None:
    """The key is in none of the store's files while it is open and after, and in no text of what is read."""
    record = gateway_record(api_key=KEY)
    store = await open_store(tmp_path / "s.db", cipher)
    watch = store.watch()

    def all_bytes() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.iterdir())

    await store.write(lambda w: w.put(record))
    await store.write(lambda w: w.append(event()))
    assert record.name.encode() in all_bytes()
    assert SECRET.encode() not in all_bytes()
    assert SECRET not in repr((await soon(watch), record, store))
    await store.aclose()
    assert SECRET.encode() not in await asyncio.to_thread(all_bytes)


async def test_a_store_with_another_key(tmp_path: Path, cipher: Cipher) -> None:
    """A store that has secrets does not open with another key; one that has none does."""
    path = tmp_path / "s.db"
    store = await open_store(path, cipher)
    await store.write(lambda w: w.put(gateway_record(1)))
    await store.aclose()
    store = await open_store(path, Cipher.ephemeral())
    await store.aclose()
    store = await open_store(path, cipher)
    await store.write(lambda w: w.put(gateway_record(2, api_key=KEY)))
    await store.aclose()
    with pytest.raises(CipherError, match="a key in memory is not the one"):
        await open_store(path, Cipher.ephemeral())


async def test_rows_cannot_be_exchanged(tmp_path: Path, cipher: Cipher) -> None:
    """One gateway's key moved to another's row in the file is refused, not used."""
    store = await open_store(tmp_path / "s.db", cipher)
    await store.write(lambda w: w.put(gateway_record(1, api_key=KEY)))
    await store.write(lambda w: w.put(gateway_record(2)))
    move = "UPDATE objects SET api_key = (SELECT api_key FROM objects WHERE id = :a) WHERE id = :b"
    ids = {"a": gateway_id(1), "b": gateway_id(2)}
    await store.write(lambda w: w._connection.execute(text(move), ids))  # type: ignore[attr-defined]
    with pytest.raises(CipherError, match="is that of gateway"):
        await store.read(lambda view: view.get(Kind.GATEWAY, gateway_id(2)))
    await store.aclose()
