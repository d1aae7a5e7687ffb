"""The control plane killed while it writes: after a restart the store holds what was acknowledged."""

import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from igw_ops.private import write_private

from tests.ports import free_ports

WRITES = 200
SEED = 20_261_122
ORGANIZATION = "acme"


@contextmanager
def _control_plane(folder: Path, ports: list[int]) -> Iterator[subprocess.Popen[bytes]]:
    names = ("--port", "--ops-port", "--api-port", "--api-grpc-port")
    options = [part for name, port in zip(names, ports, strict=True) for part in (name, str(port))]
    options += ["--state-dir", str(folder / "state"), "--organization-id", ORGANIZATION]
    options += ["--admin-token-file", str(folder / "token"), "--zone", "LOCAL-01A", "--log-level", "warning"]
    process = subprocess.Popen([sys.executable, "-m", "igw_cli", "xds", *options])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _gateway(key: str) -> dict[str, object]:
    return {
        "id": key,
        "name": f"g-{key}",
        "zones": ["LOCAL-01A"],
        "coreWeaveAuth": {},
        "pathBasedRouting": {},
        "endpointConfiguration": {"additionalDns": [f"{key}.example.org"]},
    }


def _until_it_answers(client: httpx.Client) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if client.get("/gateways").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the API does not answer")


def test_what_was_acknowledged_is_there_and_nothing_else(tmp_path: Path) -> None:
    """`kill -9` in a loop of 200 writes: each acknowledged one is whole, and at most the one in flight is beside."""
    chance = random.Random(SEED)  # noqa: S311 - when to kill, not a secret
    write_private(tmp_path / "token", "t" * 40)
    ports = free_ports(4)
    acknowledged: set[str] = set()
    unanswered: set[str] = set()
    kills = 0
    with httpx.Client(
        base_url=f"http://127.0.0.1:{ports[2]}/v1alpha1/inference",
        headers={"authorization": "Bearer " + "t" * 40},
        timeout=10,
        trust_env=False,
    ) as client:
        while len(acknowledged) < WRITES:
            with _control_plane(tmp_path, ports) as process:
                _until_it_answers(client)
                # From here on, within the time of a write or two.
                timer = threading.Timer(chance.uniform(0, 0.01), process.kill)
                enough = len(acknowledged) + chance.randint(10, 40)
                try:
                    while len(acknowledged) < WRITES:
                        if len(acknowledged) == enough and not timer.is_alive():
                            timer.start()
                        key = str(uuid.UUID(int=chance.getrandbits(128), version=4))
                        unanswered.add(key)
                        assert client.post("/gateways", json=_gateway(key)).status_code == 200
                        acknowledged.add(key)
                        unanswered.discard(key)
                except httpx.TransportError:
                    kills += 1
        with _control_plane(tmp_path, ports):
            _until_it_answers(client)
            kept = {item["spec"]["id"]: item["spec"] for item in client.get("/gateways").json()["items"]}
            events = client.get("/events").json()
    assert kills >= 5
    assert acknowledged <= kept.keys()
    assert kept.keys() - acknowledged <= unanswered
    assert all(spec == {**_gateway(key), "organizationId": ORGANIZATION} for key, spec in kept.items())
    assert {event["id"] for event in events["items"]} == kept.keys()
