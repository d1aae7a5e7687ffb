"""Lines of Envoy's access log, exports of them, and records, as tests want them."""

import json
from collections.abc import Mapping
from typing import Any

from igw_usage.record import Record, record
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
START = 1_700_000_000
NOW = (START + 3600) * 1_000_000
NODE = "envoy-1"

Line = Mapping[str, str]


def usage(prompt: int = 5, completion: int = 7, **more: Any) -> str:
    """Give the metadata of a whole answer as Envoy writes it."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return json.dumps(counts | {"whole": True} | more)


def line(number: int = 0, **changed: str) -> Line:
    """Give one request's line; each number is another request."""
    said = {
        "start": f"{START + number}.000123",
        "request_id": f"id-{number}",
        "connection": "7",
        "stream": str(number),
        "gateway": "gw-1",
        "model": "small",
        "deployment": "dep-1",
        "organization": "org-1",
        "principal": "ann",
        "path": "/v1/chat/completions",
        "status": "200",
        "flags": "-",
        "duration_ms": "1500",
        "first_byte_us": "250000",
        "attempts": "1",
        "usage": usage(),
    }
    return said | changed


def read(said: Line, node: str = NODE) -> Record:
    """Give the record of a line that is of use."""
    made = record(said, node, NOW)
    assert made is not None
    return made


def request(*lines: Line, node: str = NODE) -> Any:
    """Give an export as Envoy makes it."""
    made = logs_service_pb2.ExportLogsServiceRequest()
    logs = made.resource_logs.add()
    logs.resource.attributes.add(key="node_name").value.string_value = node
    scope = logs.instrumentation_library_logs.add()
    for said in lines:
        entry = scope.logs.add()
        for name, value in said.items():
            entry.attributes.add(key=name).value.string_value = value
    return made


def export(*lines: Line, node: str = NODE) -> bytes:
    """Give an export as bytes."""
    content: bytes = request(*lines, node=node).SerializeToString()
    return content
