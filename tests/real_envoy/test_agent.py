"""`igw envoy` while its control plane is away: with a real Envoy, a real control plane that is killed, and clients."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from tests.real_envoy.launched import Launched, launched
from tests.real_envoy.running import Running, chat, eventually
from tests.real_envoy.test_envoy import Count, ask


def post(gateway: Running, envoy: Launched) -> int:
    """Send a chat completion; give its status."""
    url = f"http://127.0.0.1:{envoy.port}/v1/chat/completions"
    return httpx.post(url, json=chat(), headers=gateway.headers("chat"), timeout=30).status_code


def end(envoy: Launched) -> None:
    """End an Envoy, as SIGTERM does."""
    envoy.signal(signal.SIGTERM)
    envoy.ended()
    assert envoy.running().returncode == 0, envoy.log()


@contextlib.asynccontextmanager
async def clients(gateway: Running, envoy: Launched) -> AsyncIterator[Count]:
    """Send requests all the while, one by one."""
    count, stopped = Count(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask(gateway, lambda: envoy.port, count, stopped))
        try:
            yield count
        finally:
            stopped.set()


def refuses(envoy: Launched) -> bool:
    """Say whether the control plane heard that this Envoy refused something."""
    return envoy.control_plane.status().get("lastNack") is not None


async def test_a_fresh_envoy_serves_without_a_control_plane(gateway: Running, tmp_path: Path) -> None:
    """It starts from what the one before accepted, not from what that one refused: a listener that is not ours.

    Once the control plane is back only what changed meanwhile is sent, and no request fails.
    """
    with launched(gateway, tmp_path / "one") as envoy:
        control_plane = envoy.control_plane
        envoy.start()
        eventually(lambda: "cache written" in envoy.log())
        control_plane.kill()
        control_plane.start(listen=f"203.0.113.1:{envoy.port}")
        eventually(lambda: refuses(envoy), 60)
        control_plane.kill()
        assert post(gateway, envoy) == 200
        end(envoy)
        kept = [path.read_bytes() for path in envoy.folder.glob("state/*/*")]
        assert any(b"ingress" in content for content in kept)
        assert not any(b"203.0.113.1" in content for content in kept)

        envoy.start()
        assert '"answering from the cache"' in envoy.log()
        assert post(gateway, envoy) == 200
        text = control_plane.definitions.read_text()
        control_plane.definitions.write_text(text.replace("    weight: 900\n", "    weight: 899\n", 1))
        async with clients(gateway, envoy) as count:
            control_plane.start()
            await asyncio.to_thread(eventually, lambda: control_plane.status().get("synced", False), 60)
            await asyncio.sleep(0.3)
        assert control_plane.sent() == {"rds": 4}  # the four gateways that have the split, and nothing else
        assert count.failures == []
        assert count.served[envoy.port] > 10
        assert '"the control plane is back"' in envoy.log()
