"""An OTLP export of logs, as Envoy writes it, read as attributes. Pure.

The messages are OTLP's by their field numbers, with bytes where OTLP has strings: a path may hold bytes that are no
UTF-8, and one of them must not make all that is sent with it unreadable.
Source: https://github.com/open-telemetry/opentelemetry-proto, `collector/logs/v1/logs_service.proto`.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

NODE: Final = "node_name"
_FIELDS: Final = {
    "AnyValue": {"string_value": (1, "")},
    "KeyValue": {"key": (1, ""), "value": (2, "AnyValue")},
    "LogRecord": {"attributes": (6, "*KeyValue")},
    "ScopeLogs": {"log_records": (2, "*LogRecord")},
    "Resource": {"attributes": (1, "*KeyValue")},
    "ResourceLogs": {"resource": (1, "Resource"), "scope_logs": (2, "*ScopeLogs")},
    "Export": {"resource_logs": (1, "*ResourceLogs")},
}
"""Each message's fields: a number, and which message it is, `*` for many; nothing for bytes."""


class NotUnderstoodError(Exception):
    """It is no export of logs."""


def lines(message: bytes) -> Iterator[tuple[str, dict[str, str]]]:
    """Give the Envoy's name and the attributes of each line. Raises NotUnderstoodError before the first."""
    try:
        export = _EXPORT.FromString(message)
    except DecodeError:
        raise NotUnderstoodError from None
    return _lines(export)


def _lines(export: Any) -> Iterator[tuple[str, dict[str, str]]]:
    for resource in export.resource_logs:
        node = _attributes(resource.resource.attributes).get(NODE, "")
        for scope in resource.scope_logs:
            for line in scope.log_records:
                yield node, _attributes(line.attributes)


def _attributes(pairs: Iterable[Any]) -> dict[str, str]:
    return {_text(pair.key): _text(pair.value.string_value) for pair in pairs}


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def _export() -> Any:
    """Make the messages, in a pool of their own: OTLP's names are other packages'."""
    file = FileDescriptorProto(name="igw_usage.proto", package="igw.usage", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            message.field.append(_field(field, number, kind))
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("igw.usage.Export"))


def _field(name: str, number: int, kind: str) -> FieldDescriptorProto:
    proto = FieldDescriptorProto
    label = proto.LABEL_REPEATED if kind.startswith("*") else proto.LABEL_OPTIONAL
    if not kind:
        return proto(name=name, number=number, label=label, type=proto.TYPE_BYTES)
    of = f".igw.usage.{kind.removeprefix('*')}"
    return proto(name=name, number=number, label=label, type=proto.TYPE_MESSAGE, type_name=of)


_EXPORT: Final = _export()
