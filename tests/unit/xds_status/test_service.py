"""The control plane as a process: files and the API's writes in one store, served; a part that fails ends it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from igw_certs.authority import Authority
from igw_model.policy import Access
from igw_model.record import Kind, Replica
from igw_store.cipher import Cipher
from igw_store.files import Loaded, load
from igw_store.sqlite import SqliteStore, open_store
from igw_store.store import UnavailableError
from igw_xds import service
from igw_xds.certificates import LOOK_SECONDS
from igw_xds.key_owners import KeyOwners
from igw_xds.reporter import SETTLE_SECONDS
from igw_xds.service import ControlPlane, Plane, serve
from igw_xds.settings import DataPlane, HostPort
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs

from tests.builders import DOMAIN, deployment_id, gateway_id, gateway_spec, write
from tests.pairs import write_pair
from tests.ports import free_port
from tests.unit.xds_status.plane import record


@dataclass
class Running:
    """A control plane and what it is fed."""

    store: SqliteStore
    ops: str
    plane: Plane
    files: asyncio.Queue[Loaded] = field(default_factory=asyncio.Queue)
    task: "asyncio.Task[None] | None" = None

    async def states(self) -> AsyncIterator[Loaded]:
        """Give what the files say."""
        while True:
            yield await self.files.get()

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            return await client.get(f"{self.ops}/{path}")

    async def until(self, condition: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until readiness and status are so, and give the status."""
        async with asyncio.timeout(10):
            while True:
                ready = (await self.get("readyz")).status_code
                found: dict[str, Any] = (await self.get("status")).json()
                if condition(ready, found):
                    return found
                await asyncio.sleep(0.02)

    async def reason(self, condition: str, number: int, than: str = "") -> str:
        """Wait until something (else) is said of a gateway by a condition, and give the reason."""
        async with asyncio.timeout(10):
            while True:
                found = await self.store.read(lambda store: store.get(Kind.GATEWAY, gateway_id(number)))
                conditions = found.observed.conditions if found and found.observed else ()
                reasons = [c.reason for c in conditions if c.type == condition]
                if reasons and reasons != [than]:
                    return reasons[0]
                await asyncio.sleep(0.02)


@asynccontextmanager
async def control_plane(
    *, files: bool, owners: KeyOwners | None = None, **options: Any
) -> AsyncIterator[Running]:
    """Run a control plane over a store in memory; `options` are other settings."""
    store, stop, port = await open_store(None, Cipher.ephemeral()), asyncio.Event(), free_port()
    settings = ControlPlane(HostPort("127.0.0.1", 0), HostPort("127.0.0.1", port), DOMAIN, None, DataPlane())
    plane = Plane(replace(settings, **options), CollectorRegistry(), owners)
    running = Running(store, f"http://127.0.0.1:{port}", plane)
    states = running.states() if files else None
    running.task = asyncio.create_task(serve(running.plane, store, stop, states))
    await asyncio.sleep(0.1)
    try:
        yield running
    finally:
        stop.set()
        await asyncio.wait([running.task])
        await store.aclose()


def served(status: dict[str, Any]) -> list[str | None]:
    """Give the versions that zones are served, or that wait for the first Envoy."""
    return [zone["served"] or zone["staged"] for zone in status["zones"]]


def said(folder: Path, *documents: dict[str, Any]) -> Loaded:
    """Give what a file with these definitions says."""
    return load([write(folder / "definitions.yaml", *documents)])


async def test_a_store_without_files_is_served_at_once() -> None:
    """An empty store is a state like others; a write is a new snapshot."""
    async with control_plane(files=False) as running:
        empty = await running.until(lambda ready, _: ready == 200)
        await running.store.write(lambda store: store.put(record(Kind.GATEWAY, gateway_spec(1))))
        await running.until(lambda _, status: served(status) != served(empty))


async def test_nothing_is_served_before_the_files_were_read(tmp_path: Path) -> None:
    """A control plane that starts must not take away from Envoys what it is about to read."""
    async with control_plane(files=True) as running:
        assert (await running.get("readyz")).status_code == 503
        await running.files.put(said(tmp_path, gateway_spec(1)))
        await running.until(lambda ready, _: ready == 200)


async def test_broken_files_keep_what_was_served(tmp_path: Path) -> None:
    """They are told of in status; with nothing else known, nothing is served until they are mended."""
    broken = said(tmp_path, {**gateway_spec(1), "zones": []})
    async with control_plane(files=True) as running:
        await running.files.put(broken)
        told = await running.until(lambda _, status: bool(status["definition_errors"]))
        assert "zones: must have exactly one zone" in told["definition_errors"][0]
        await asyncio.sleep(0.2)
        await running.until(lambda ready, status: ready == 503 and not served(status))
        await running.files.put(said(tmp_path, gateway_spec(1)))
        mended = await running.until(lambda ready, status: ready == 200 and not status["definition_errors"])
        await running.files.put(broken)
        told = await running.until(lambda _, status: bool(status["definition_errors"]))
        assert served(told) == served(mended) != []


async def test_whose_a_gateways_key_is_decides_who_may_use_it() -> None:
    """What W&B says is served and told of; a gateway that anybody's key may use is warned of, once."""
    answer = asyncio.Event()

    async def ask(_: SecretStr) -> frozenset[str] | None:
        await answer.wait()
        return frozenset({"ops"})

    wandb = {"coreWeaveAuth": None, "weightsAndBiasesAuth": {"serverUrl": "https://x"}}
    keyed = replace(record(Kind.GATEWAY, gateway_spec(1, **wandb)), api_key=SecretStr("k" * 40))
    opened = record(Kind.GATEWAY, gateway_spec(2, **wandb))
    with capture_logs() as logs:
        async with control_plane(files=False, owners=KeyOwners(ask, None, 100)) as running:
            await running.until(lambda ready, _: ready == 200)
            for one in (keyed, opened, replace(opened, generation=2)):
                await running.store.write(lambda store, one=one: store.put(one))  # type: ignore[misc]
            assert await running.reason("AccessRestricted", 1) == "KeyNotChecked"
            assert running.plane.derivation.gateways[gateway_id(1)].policy.access is Access.PENDING
            answer.set()
            assert await running.reason("AccessRestricted", 1, than="KeyNotChecked") == "Entities"
            assert running.plane.derivation.gateways[gateway_id(1)].policy.entities == ("ops",)
            assert await running.reason("AccessRestricted", 2) == "AnyKeyAccepted"
    assert [e["gateway"] for e in logs if e["log_level"] == "warning"] == [gateway_id(2)]


async def test_a_part_that_fails_ends_the_process() -> None:
    """A control plane that no longer follows its store must not look alive."""
    async with control_plane(files=False) as running:
        await running.until(lambda ready, _: ready == 200)
        await running.store.aclose()
        assert running.task is not None
        async with asyncio.timeout(5):
            await asyncio.wait([running.task])
        assert isinstance(running.task.exception(), ExceptionGroup)


async def test_a_store_that_cannot_answer_for_a_while_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are taken over, and the store followed, once it can."""
    monkeypatch.setattr(service, "RETRY_SECONDS", 0.05)
    async with control_plane(files=True) as running:
        await running.files.put(said(tmp_path, gateway_spec(1)))
        first = await running.until(lambda ready, _: ready == 200)
        store = running.store
        write, look = store.write, store._look
        asked = []

        async def refuse(*arguments: Any) -> Any:
            asked.append(arguments)
            raise UnavailableError("locked")

        monkeypatch.setattr(store, "write", refuse)
        monkeypatch.setattr(store, "_look", refuse)
        store._wake()
        await running.files.put(said(tmp_path, gateway_spec(1), gateway_spec(2)))
        await asyncio.sleep(0.3)
        assert len(asked) > 2
        monkeypatch.setattr(store, "write", write)
        monkeypatch.setattr(store, "_look", look)
        await running.until(lambda _, status: served(status) != served(first))


async def test_a_store_that_cannot_answer_is_in_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it cannot, and no longer: what Envoys have stays, so nothing else would tell."""
    monkeypatch.setattr(service, "EXPIRY_SECONDS", 0.02)
    async with control_plane(files=False) as running:
        await running.until(lambda ready, status: ready == 200 and status["storeFailure"] == "")
        store, read = running.store, running.store.read

        async def refuse(*_: Any) -> Any:
            raise UnavailableError("locked")

        monkeypatch.setattr(store, "read", refuse)
        await running.until(lambda ready, status: ready == 200 and status["storeFailure"] == "locked")
        monkeypatch.setattr(store, "read", read)
        await running.until(lambda _, status: status["storeFailure"] == "")
        write = store.write
        monkeypatch.setattr(store, "write", refuse)
        await write(lambda tx: tx.put(record(Kind.GATEWAY, gateway_spec(1))))
        await running.until(lambda _, status: status["storeFailure"] == "locked")
        monkeypatch.setattr(store, "write", write)
        await running.until(lambda _, status: status["storeFailure"] == "")


async def test_a_file_waits_for_what_is_in_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object of the API that goes makes room for a file's, without another edit."""
    monkeypatch.setattr(service, "RETRY_SECONDS", 0.05)
    async with control_plane(files=True) as running:
        key = (Kind.GATEWAY, gateway_spec(1)["id"])
        await running.store.write(lambda store: store.put(record(Kind.GATEWAY, gateway_spec(1))))
        await running.files.put(said(tmp_path, gateway_spec(1)))
        await running.until(lambda _, status: bool(status["definition_errors"]))
        await running.store.write(lambda store: store.remove(*key))
        await running.until(lambda ready, status: ready == 200 and not status["definition_errors"])


async def test_a_certificate_is_noticed_when_something_else_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks first tells of it: it stands in conditions at once, not with the next sweep."""
    monkeypatch.setattr(service, "LOOK_SECONDS", 3600)
    authority, folder, name = Authority.kept(tmp_path / "authority"), tmp_path / "certificates", "a.example"
    write_pair(folder, authority.issue_server([name]))
    options: dict[str, Any] = {
        "certificates": folder,
        "local_authority": tmp_path / "authority",
        "data_plane": DataPlane(https=HostPort("127.0.0.1", 1)),
    }
    spec = gateway_spec(1, endpointConfiguration={"additionalDns": [name]})
    async with control_plane(files=False, **options) as running:
        await running.store.write(lambda store: store.put(record(Kind.GATEWAY, spec)))
        assert await running.reason("CertificateReady", 1) == "Valid"
        write_pair(folder, authority.issue_server([name], days=0.1 / 86400))
        await asyncio.sleep(LOOK_SECONDS + 0.1)
        await running.store.write(lambda store: store.put(record(Kind.GATEWAY, gateway_spec(2))))
        async with asyncio.timeout(SETTLE_SECONDS / 2):
            assert await running.reason("CertificateReady", 1, than="Valid") == "Broken"


async def test_a_local_certificate_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """Its gateway is served all the same, and says what it lacks; with the folder back it lacks nothing."""
    folder, aside = tmp_path / "authority", tmp_path / "aside"
    https = DataPlane(https=HostPort("127.0.0.1", 1))
    async with control_plane(files=False, local_authority=folder, data_plane=https) as running:
        before = await running.until(lambda ready, _: ready == 200)
        folder.rename(aside)
        await running.store.write(lambda store: store.put(record(Kind.GATEWAY, gateway_spec(1))))
        assert await running.reason("CertificateReady", 1) == "Missing"
        after = await running.until(lambda _, status: served(status) != served(before))
        assert "No such file or directory" in after["certificates"][0]["trouble"]
        aside.rename(folder)
        assert await running.reason("CertificateReady", 1, than="Missing") == "Valid"


async def test_replicas_from_before_have_time_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose time passed while nobody could hear it stays for a while; who was heard of since goes in time."""
    monkeypatch.setattr(service, "EXPIRY_SECONDS", 0.02)
    store = await open_store(None, Cipher.ephemeral())
    passed = datetime.now(UTC) - timedelta(seconds=5)
    early = Replica(deployment_id(1), "early", "127.0.0.1", 1, passed)
    await store.write(lambda tx: tx.put_replica(early))
    settings = ControlPlane(HostPort("", 0), HostPort("", 0), DOMAIN, None, DataPlane())

    async def names() -> list[str]:
        found = await store.read(lambda view: view.replicas(deployment_id(1)))
        return [replica.name for replica in found]

    @asynccontextmanager
    async def expiring(come_back_seconds: float) -> AsyncIterator[None]:
        monkeypatch.setattr(service, "COME_BACK_SECONDS", come_back_seconds)
        plane = Plane(settings, CollectorRegistry())
        plane.store_failure = "nobody has looked"
        task = asyncio.create_task(service._expire(store, plane))
        try:
            async with asyncio.timeout(10):
                while plane.store_failure:  # noqa: ASYNC110 - nothing tells of a look
                    await asyncio.sleep(0.01)
                yield
        finally:
            task.cancel()

    async with expiring(3600):
        await store.write(lambda tx: tx.put_replica(replace(early, name="late")))
        while await names() != ["early"]:  # noqa: ASYNC110 - nor of one who went
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert await names() == ["early"]
    began = time.monotonic()
    async with expiring(0.5):
        while await names():  # noqa: ASYNC110 - nor here
            await asyncio.sleep(0.01)
        assert time.monotonic() - began > 0.5
    await store.aclose()
