"""A whole gateway with everything happening on it that the dashboard shows: answers, refusals, retries, a NACK."""

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
from envoy.service.discovery.v3 import ads_pb2_grpc
from igw_xds.snapshot import CLUSTER

from tests.real_envoy.running import AS_FORM, REPLICAS, TRANSCRIPTIONS, Running, chat, eventually, form
from tests.unit.xds_stream.builders import NODE, delta, nack


@contextlib.contextmanager
def refusing_proxy(port: int) -> Iterator[None]:
    """Keep a stream open on which every cluster is refused."""
    requests: queue.Queue[Any] = queue.Queue()
    requests.put(delta(CLUSTER, node=NODE))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel)
        call = stub.DeltaAggregatedResources(iter(requests.get, None))
        refusing = threading.Thread(target=_refuse, args=(call, requests), daemon=True)
        refusing.start()
        try:
            yield
        finally:
            call.cancel()
            requests.put(None)
            refusing.join(5)


def _refuse(call: Any, requests: "queue.Queue[Any]") -> None:
    with contextlib.suppress(grpc.RpcError):
        for response in call:
            requests.put(nack(response, error="a test refuses this"))


@contextlib.contextmanager
def traffic(gateway: Running) -> Iterator[None]:
    """Have replicas and extauth die under traffic, and a gateway change; then only send, one of each kind each time.

    Nothing dies while a test looks: what it reads of a process is not to be gone under its hands.
    """
    _faults(gateway)
    done = threading.Event()
    sending = threading.Thread(target=_rounds, args=(gateway, done), daemon=True)
    sending.start()
    try:
        yield
    finally:
        done.set()
        sending.join(30)


def _faults(gateway: Running) -> None:
    _round(gateway)
    died = gateway.pids["extauth"]
    os.kill(died, signal.SIGKILL)
    _round(gateway)
    gateway.edit(lambda text: text.replace("[by-path.localhost]", "[by-path.localhost, more.localhost]"))
    eventually(lambda: gateway.pids.get("extauth", died) != died)
    _answered_by(gateway, REPLICAS[2])  # extauth is back, and counts from nothing
    _round(gateway)
    time.sleep(2)  # Prometheus takes what it is told first for where things stood before: that is to be now
    for _ in range(5):
        _kill(gateway, *REPLICAS[:2])
        _round(gateway)
    for _ in range(50):
        _kill(gateway, *REPLICAS)
        answer = _chat(gateway)
        if answer is not None and answer.is_server_error:
            break


def _answered_by(gateway: Running, replica: str) -> None:
    """Ask until a replica has answered: one with a small share may not have been asked yet."""

    def answered() -> bool:
        answer = _chat(gateway)
        return answer is not None and answer.headers.get("x-demo-replica") == replica

    eventually(answered, 30)


def _chat(gateway: Running) -> httpx.Response | None:
    with contextlib.suppress(httpx.HTTPError):
        return gateway.post("chat", chat())
    return None


def _kill(gateway: Running, *replicas: str) -> None:
    """Kill those that are there; some may be back already, others not yet."""
    for name in replicas:
        with contextlib.suppress(KeyError, ProcessLookupError):
            os.kill(gateway.pids[name], signal.SIGKILL)


def _rounds(gateway: Running, done: threading.Event) -> None:
    while not done.wait(0.1):
        _round(gateway)


def _round(gateway: Running) -> None:
    requests: tuple[Callable[[], object], ...] = (
        lambda: gateway.post("chat", chat()),
        lambda: gateway.post("chat", chat()),
        lambda: gateway.post("chat", chat("demo-large")),
        lambda: gateway.post("chat", chat("unknown")),
        lambda: gateway.post("chat", {"messages": []}),
        lambda: gateway.post(
            "wandb-chat", {**chat(), "stream": True}, token=gateway.ready["tokens"]["wandb"]
        ),
        lambda: gateway.post("chat", form("demo-large"), TRANSCRIPTIONS, headers=AS_FORM),
        lambda: gateway.post("chat", form(field="modal"), headers=AS_FORM),
        lambda: gateway.post("chat", chat(), token="nobody's"),
        lambda: gateway.post("chat", chat(), headers={"Host": "nobody.example"}),
        lambda: httpx.get(f"{gateway.ready['api']}/v1alpha1/inference/gateways"),
    )
    for request in requests:
        with contextlib.suppress(httpx.HTTPError):
            request()
