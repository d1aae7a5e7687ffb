"""Whose the gateways' own W&B keys are: asked for, kept over restarts and outages, and never told."""

import asyncio
import hashlib
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from igw_model.record import Kind, Record
from igw_store.store import Change
from igw_xds import key_owners
from igw_xds.access import KeyOwner, NotChecked, NotValid, OwnedBy
from igw_xds.key_owners import KeyOwners
from pydantic import SecretStr
from structlog.testing import capture_logs

from tests.builders import change, gateway_id, gateway_spec, record

KEY, OTHER = "k" * 40, "o" * 40
OPS = OwnedBy(frozenset({"ops"}))


@dataclass
class Wandb:
    """W&B as far as it is asked: the entities of each key's owner; a key that it has not is an outage."""

    owners: dict[str, frozenset[str] | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def ask(self, key: SecretStr) -> frozenset[str] | None:
        """Answer the control plane."""
        self.asked.append(key.get_secret_value())
        await asyncio.sleep(0)
        return self.owners[key.get_secret_value()]


@asynccontextmanager
async def running(
    wandb: Wandb, file: Path | None = None, seconds: float = 100.0
) -> AsyncIterator[tuple[KeyOwners, dict[str, KeyOwner]]]:
    """Run it; give it, and what it told since by gateway, the last word on each."""
    owners, told = KeyOwners(wandb.ask, file, seconds), dict[str, KeyOwner]()

    async def follow() -> None:
        while True:
            await owners.changed()
            told.update(owners.take())

    tasks = [asyncio.create_task(owners.run()), asyncio.create_task(follow())]
    try:
        yield owners, told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a condition of the code under test
            await asyncio.sleep(0.005)


def keyed(number: int, key: str | None = KEY, **fields: object) -> Record:
    """Give the record of a gateway with a key of its own."""
    spec = gateway_spec(number, coreWeaveAuth=None, weightsAndBiasesAuth={"serverUrl": "https://x"})
    secret = None if key is None else SecretStr(key)
    return record(Kind.GATEWAY, spec, api_key=secret, **fields)


async def test_a_new_key_is_asked_for_at_once_and_once() -> None:
    """Until then it is not checked; gateways with the same key share the answer, others are not told of."""
    wandb = Wandb({KEY: frozenset({"ops"}), OTHER: None})
    async with running(wandb) as (owners, told):
        first = owners.follow(change(keyed(1), keyed(2), keyed(3, None), whole=True))
        assert first == {gateway_id(1): NotChecked(), gateway_id(2): NotChecked()}
        await until(lambda: len(told) == 2)
        assert told == {gateway_id(1): OPS, gateway_id(2): OPS}
        told.clear()
        assert owners.follow(change(keyed(4), keyed(5, OTHER))) == {
            gateway_id(4): OPS,
            gateway_id(5): NotChecked(),
        }
        await until(lambda: bool(told))
        assert told == {gateway_id(5): NotValid()}
        assert sorted(wandb.asked) == [KEY, OTHER]


async def test_an_outage_changes_nothing_not_even_over_a_restart(tmp_path: Path) -> None:
    """What W&B said last is in a private file, under the key's SHA-256, and holds until it says something else."""
    file, wandb = tmp_path / "key-owners.json", Wandb({KEY: frozenset({"ops"})})
    async with running(wandb, file) as (owners, told):
        owners.follow(change(keyed(1), whole=True))
        await until(lambda: bool(told))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text(encoding="utf-8")
    assert hashlib.sha256(KEY.encode()).hexdigest() in text
    assert KEY not in text
    down = Wandb()
    async with running(down, file, seconds=0.01) as (owners, told):
        assert owners.follow(change(keyed(1), whole=True)) == {gateway_id(1): OPS}
        await until(lambda: len(down.asked) > 2)
        assert not told
        down.owners[KEY] = frozenset({"eve"})
        await until(lambda: bool(told))
        assert told == {gateway_id(1): OwnedBy(frozenset({"eve"}))}


async def test_a_key_of_which_nothing_is_known_is_asked_for_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage, however long, its gateways are not closed until the next check would be."""
    monkeypatch.setattr(key_owners, "RETRY_SECONDS", 0.005)
    monkeypatch.setattr(key_owners, "CLOSED_RETRY_SECONDS", 0.01)
    wandb = Wandb()
    async with running(wandb) as (owners, _):
        owners.follow(change(keyed(1), whole=True))
        await until(lambda: len(wandb.asked) > 20)


async def test_a_key_is_asked_for_again_and_only_news_are_told() -> None:
    """A key that was withdrawn, or whose owner has other teams, is noticed; the same answer again is no news."""
    wandb = Wandb({KEY: frozenset({"ops"}), OTHER: frozenset({"eve"})})
    async with running(wandb, seconds=0.01) as (owners, told):
        owners.follow(change(keyed(1), keyed(2, OTHER), whole=True))
        await until(lambda: len(told) == 2)
        told.clear()
        asked = len(wandb.asked)
        await until(lambda: len(wandb.asked) > asked + 4)
        assert not told
        wandb.owners[KEY] = None
        await until(lambda: bool(told))
        assert told == {gateway_id(1): NotValid()}


async def test_an_old_key_says_nothing_of_a_new_one() -> None:
    """An answer that comes after the gateway's key changed, or the gateway went, is not for it."""
    answer, waiting = asyncio.Event(), Wandb({KEY: frozenset({"ops"})})

    async def slow(key: SecretStr) -> frozenset[str] | None:
        if key.get_secret_value() == OTHER:
            await asyncio.Event().wait()
        await answer.wait()
        return await waiting.ask(key)

    owners = KeyOwners(slow, None, 100)
    task = asyncio.create_task(owners.run())
    owners.follow(change(keyed(1), keyed(2), keyed(3), whole=True))
    await asyncio.sleep(0.01)
    answer.set()
    await owners.changed()
    newer = owners.follow(change(keyed(1, OTHER), keyed(2, deleting=True)))
    assert newer == {gateway_id(1): NotChecked()}
    assert owners.take() == {gateway_id(3): OPS}
    task.cancel()


async def test_a_key_of_no_gateway_is_not_asked_for() -> None:
    """It is forgotten with its gateway."""
    wandb = Wandb({KEY: frozenset({"ops"})})
    async with running(wandb, seconds=0.01) as (owners, told):
        owners.follow(change(keyed(1), whole=True))
        await until(lambda: bool(told))
        owners.follow(Change(whole=False, records={(Kind.GATEWAY, gateway_id(1)): None}))
        await asyncio.sleep(0.02)
        asked = len(wandb.asked)
        await asyncio.sleep(0.05)
        assert len(wandb.asked) == asked


async def test_no_key_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage, whose text quotes the key, and a key that is not valid are told of by the gateway; an outage once."""
    monkeypatch.setattr(key_owners, "RETRY_SECONDS", 0.005)
    wandb = Wandb({OTHER: None})
    with capture_logs() as logs:
        async with running(wandb, seconds=0.01) as (owners, told):
            owners.follow(change(keyed(1), keyed(2, OTHER), whole=True))
            await until(lambda: bool(told) and wandb.asked.count(KEY) > 3)
    assert sorted(entry["gateways"] for entry in logs) == [[gateway_id(1)], [gateway_id(2)]]
    assert KEY not in repr(logs)
    assert OTHER not in repr(logs)


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"entities": 5, "at": 0}}', "\x00"])
async def test_a_broken_file_is_an_empty_one(tmp_path: Path, content: str) -> None:
    """W&B is asked anew."""
    file = tmp_path / "key-owners.json"
    file.write_text(content, encoding="utf-8")
    async with running(Wandb({KEY: frozenset({"ops"})}), file) as (owners, told):
        assert owners.follow(change(keyed(1), whole=True)) == {gateway_id(1): NotChecked()}
        await until(lambda: bool(told))
