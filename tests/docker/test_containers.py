"""Containers of a real engine become rows of the store, in time, and go before they die."""

import asyncio
import threading
import time

import pytest
from igw_containers import engine
from igw_model.record import NEVER, Replica

from tests.docker.forwarder import SOCKET, Forwarder
from tests.docker.scene import Scene, address, stubborn, until

UNIX = f"unix://{SOCKET}"


async def test_containers_come_and_go(scene: Scene) -> None:
    """Started, paused, killed, stopped, renamed, scaled: the store says so at once, with the address."""
    await scene.define()
    async with scene.followed(UNIX):
        a = await scene.run("a")
        assert await scene.soon("a") == {"a": address(a, f"{scene.name}_one")}
        assert [(row.port, row.expires_at) for row in await scene.replicas()] == [(8000, NEVER)]
        b, c = await asyncio.gather(scene.run("b"), scene.run("c"))
        await scene.soon("a", "b", "c")
        await asyncio.to_thread(b.pause)
        await scene.soon("a", "c")
        await asyncio.to_thread(b.unpause)
        await scene.soon("a", "b", "c")
        await asyncio.to_thread(c.kill)
        await scene.soon("a", "b")
        await asyncio.to_thread(c.start)
        await scene.soon("a", "b", "c")
        await asyncio.to_thread(b.rename, f"{scene.name}-d")
        await scene.soon("a", "c", "d")
        await asyncio.to_thread(a.stop)
        await scene.soon("c", "d")
        await asyncio.gather(*(asyncio.to_thread(each.remove, force=True) for each in (a, b, c)))
        await scene.soon()
    events = await scene.events()
    assert events[:1] == [("REGISTER", "a")]
    assert [action for action, name in events if name == "b"] == ["REGISTER", "LEAVE", "REGISTER", "LEAVE"]


async def test_definitions_come_and_go(scene: Scene) -> None:
    """A deployment may come after its containers, move to another port, and go with its rows."""
    await scene.run("a")
    async with scene.followed(UNIX):
        await asyncio.sleep(0.3)
        assert await scene.rows() == {}
        await scene.define()
        await scene.soon("a")
        await scene.define(port=9000)

        async def moved() -> bool:
            return [row.port for row in await scene.replicas()] == [9000]

        await until(moved)
        await scene.gone()
        await scene.soon()


async def test_networks(scene: Scene) -> None:
    """On two networks the definition has to say which, by its name or its name in the Compose project."""
    await scene.define()
    one, two = (f"{scene.name}_{suffix}" for suffix in ("one", "two"))
    async with scene.followed(UNIX) as metrics:
        a = await scene.run("a", **{"com.docker.compose.project": scene.name})
        await scene.run("host", network="host")
        await scene.soon("a")
        await asyncio.to_thread(scene.engine.networks.get(two).connect, a)
        await scene.soon()
        await until(lambda: (metrics.get_sample_value("igw_containers_left_out") or 0) >= 2)
        await scene.define(network="two")
        assert await scene.soon("a") == {"a": address(a, two)}
        await scene.define(network=one)

        async def moved() -> bool:
            return await scene.rows() == {"a": address(a, one)}

        await until(moved)
        await asyncio.to_thread(scene.engine.networks.get(one).disconnect, a)
        await scene.soon()


async def test_a_container_told_to_stop_leaves_before_it_dies(scene: Scene) -> None:
    """It takes 3 s to end: it leaves at once, and comes back in no listing, nor for a control plane started anew."""
    await scene.define()
    slow = await scene.run("slow", command=stubborn(3))
    async with scene.followed(UNIX):
        await scene.soon("slow")
        began = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(slow.stop, timeout=10))
        await scene.soon()
        assert not stopping.done()
        await scene.run("other")  # brings a listing that has it as running
        await scene.soon("other")
    async with scene.followed(UNIX):
        while not stopping.done():
            assert "slow" not in await scene.rows()
            await asyncio.sleep(0.02)
        assert time.monotonic() - began > 2.5
        assert set(await scene.rows()) == {"other"}
        await asyncio.to_thread(slow.start)
        await scene.soon("other", "slow")


async def test_other_signals_do_not_end_it(scene: Scene) -> None:
    """HUP asks a server to read its configuration again, not to go."""
    await scene.define()
    async with scene.followed(UNIX):
        a = await scene.run("a", command='trap : HUP; trap "exit 0" TERM; while :; do sleep 0.05; done')
        await scene.soon("a")
        await asyncio.to_thread(a.kill, "HUP")
        await asyncio.sleep(0.3)
        assert set(await scene.rows()) == {"a"}


async def test_rows_of_others_stay(scene: Scene) -> None:
    """Replicas that registered themselves are not ours; what an earlier run found stays until the engine answered."""
    await scene.define()
    registered = Replica(scene.deployment_id, "own", "10.0.0.1", 1, scene.clock())
    earlier = Replica(scene.deployment_id, "earlier", "10.0.0.2", 1, NEVER)
    await scene.store.write(lambda write: write.put_replica(registered))
    await scene.store.write(lambda write: write.put_replica(earlier))
    async with scene.followed("tcp://127.0.0.1:1"):
        await asyncio.sleep(0.5)
        assert set(await scene.rows()) == {"own", "earlier"}
    async with scene.followed(UNIX):
        await scene.soon("own")


async def test_an_engine_that_goes_and_comes_back(
    scene: Scene, forwarder: Forwarder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was known stays; what happened meanwhile is made up for, who was told to stop included."""
    monkeypatch.setattr(engine, "LAST_DELAY", 0.3)  # `slow` must outlast all this
    await scene.define()
    async with scene.followed(forwarder.url) as metrics:
        a, slow = await scene.run("a"), await scene.run("slow", command=stubborn(8))
        await scene.soon("a", "slow")
        await forwarder.cut()
        stopping = asyncio.create_task(asyncio.to_thread(slow.stop, timeout=20))
        await asyncio.to_thread(a.remove, force=True)
        await scene.run("b")
        await asyncio.sleep(0.5)
        assert set(await scene.rows()) == {"a", "slow"}
        assert metrics.get_sample_value("igw_containers_engine_connected") == 0
        await forwarder.open()
        await scene.soon("b", within=5)
        assert not stopping.done()
        assert metrics.get_sample_value("igw_containers_engine_connected") == 1
        await stopping
        await scene.run("c")
        await scene.soon("b", "c")
    assert {path.split("?")[0].split("/v1.")[-1].partition("/")[2] for path in forwarder.requests} <= {
        "version",
        "events",
        "containers/json",
    }
    assert all(request.startswith("GET ") for request in forwarder.requests)


async def test_a_connection_that_says_nothing(scene: Scene, forwarder: Forwarder) -> None:
    """Half open: the next listing is not answered, and all is asked for anew; it takes two time limits at most."""
    await scene.define()
    async with scene.followed(forwarder.url) as metrics:
        await scene.run("a")
        await scene.soon("a")
        forwarder.deaf()
        await scene.run("b")
        await until(lambda: metrics.get_sample_value("igw_containers_engine_connected") == 0, 12)
        forwarder.hear()
        await scene.soon("a", "b", within=8)


@pytest.mark.parametrize("state", ["unix", "tcp", "deaf", "away"])
async def test_it_ends_at_once(scene: Scene, forwarder: Forwarder, state: str) -> None:
    """Whatever the engine does, the end is not waited for, and no thread goes on reading events."""
    await scene.define()
    async with scene.followed(UNIX if state == "unix" else forwarder.url):
        await scene.run("a")
        await scene.soon("a")
        match state:
            case "deaf":
                forwarder.deaf()
                await scene.run("b")
                await asyncio.sleep(0.2)
            case "away":
                await forwarder.cut()
                await asyncio.sleep(0.5)
            case _:
                pass
        began = time.monotonic()
    assert time.monotonic() - began < 3  # a call that is under way would take 5 s
    await until(lambda: all(thread.name != "docker-events" for thread in threading.enumerate()))
