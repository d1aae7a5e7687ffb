"""Envoy's spans by OpenTelemetry: on by a setting, one trace with the caller's, and nothing secret in them."""

import asyncio
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from tests.real_envoy.running import Running, chat, igw_up

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
UNSAMPLED = "00-1bf7651916cd43dd8448eb211c80319d-b7ad6b7169203331-00"


class Collector:
    """An OpenTelemetry collector that keeps the bytes of what it was sent."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.port = 0
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)
        self._loop.close()

    def spans(self) -> list[tuple[str, dict[str, str]]]:
        """Give trace id and attributes of each span."""
        return [
            (span.trace_id.hex(), {a.key: a.value.string_value for a in span.attributes})
            for request in self.requests
            for resource in trace_service_pb2.ExportTraceServiceRequest.FromString(request).resource_spans
            for library in resource.instrumentation_library_spans
            for span in library.spans
        ]

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
        self.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self._started.set()
        await self._stopped.wait()
        await server.stop(0)

    async def _export(self, request: bytes, _: object) -> bytes:
        self.requests.append(request)
        return b""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Run a collector."""
    collector = Collector()
    collector.start()
    yield collector
    collector.stop()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Running]:
    """A demo whose Envoy sends its spans to the collector."""
    options = ("--demo", "--traces", f"127.0.0.1:{collector.port}")
    with igw_up(tmp_path_factory.mktemp("traced"), *options) as running:
        yield running


def _spans_of(collector: Collector, trace: str, number: int) -> list[dict[str, str]]:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        found = [attributes for of, attributes in collector.spans() if of == trace]
        if len(found) >= number:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {number} spans of {trace} in {collector.spans()}")


def test_a_request_is_part_of_the_callers_trace(traced: Running, collector: Collector) -> None:
    """Envoy's spans have the caller's trace id, name gateway and model, and the model server is told of it too."""
    answer = traced.post("chat", chat("demo-large"), headers={"traceparent": PARENT})
    assert answer.status_code == 200
    spans = _spans_of(collector, TRACE, 2)
    [server] = [span for span in spans if "gen_ai.request.model" in span and "guid:x-request-id" in span]
    assert server["gen_ai.request.model"] == "demo-large"
    assert server["igw.gateway"] == traced.ready["gateways"][0]["id"]
    [seen] = [one["last"] for one in traced.seen().values() if one.get("last")]
    [parent] = [value for name, value in seen["headers"] if name == "traceparent"]
    assert parent.split("-")[1] == TRACE
    assert parent != PARENT


def test_the_caller_decides_whether_it_is_traced(traced: Running, collector: Collector) -> None:
    """A caller's trace that is not sampled makes no span; the next one that is, does."""
    assert traced.post("chat", chat("demo-large"), headers={"traceparent": UNSAMPLED}).status_code == 200
    sampled = PARENT.replace(TRACE, "2" * 32)
    assert traced.post("chat", chat("demo-large"), headers={"traceparent": sampled}).status_code == 200
    _spans_of(collector, "2" * 32, 1)
    assert not [of for of, _ in collector.spans() if of == UNSAMPLED.split("-")[1]]


def test_nothing_secret_is_in_spans(traced: Running, collector: Collector) -> None:
    """No token is in any span."""
    third = PARENT.replace(TRACE, "3" * 32)
    assert traced.post("chat", chat("demo-large"), headers={"traceparent": third}).status_code == 200
    _spans_of(collector, "3" * 32, 1)
    sent = b"".join(collector.requests)
    assert traced.token.encode() not in sent
    assert str(traced.ready["tokens"]["wandb"]).encode() not in sent


def test_without_the_setting_traceparent_passes_as_it_came(gateway: Running) -> None:
    """Envoy that makes no spans hands the caller's `traceparent` on."""
    assert gateway.post("chat", chat("demo-large"), headers={"traceparent": PARENT}).status_code == 200
    parents = [
        value
        for one in gateway.seen().values()
        for name, value in (one["last"] or {"headers": []})["headers"]
        if name == "traceparent"
    ]
    assert PARENT in parents
