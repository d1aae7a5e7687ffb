"""Exports of logs, read as attributes."""

import pytest
from igw_usage.otlp import NotUnderstoodError, lines

from tests.unit.usage.lines import export, line, request


def test_lines_with_their_envoy() -> None:
    """Each line comes with the name of the Envoy that wrote it, in order."""
    message = export(line(1), line(2), node="a") + export(line(3), node="b")
    assert list(lines(message)) == [("a", line(1)), ("a", line(2)), ("b", line(3))]


def test_other_values_are_empty() -> None:
    """A value that is no string is nothing; the line has the others."""
    made = request(line(1))
    entry = made.resource_logs[0].instrumentation_library_logs[0].logs[0]
    entry.attributes.add(key="number").value.int_value = 5
    entry.body.string_value = "text"
    entry.time_unix_nano = 5
    assert list(lines(made.SerializeToString())) == [("envoy-1", {**line(1), "number": ""})]


def test_bytes_that_are_no_utf8() -> None:
    """A path may have any bytes: they are replaced, and no other line is lost."""
    message = export(line(1, path="/v1/@@@@"), line(2)).replace(b"@@@@", b"\xff\xfe\x80@")
    assert [said["path"] for _, said in lines(message)] == ["/v1/\ufffd\ufffd\ufffd@", "/v1/chat/completions"]


@pytest.mark.parametrize("message", [b"\xff", b"\x0a\x05ab", export(line(1))[:-3]])
def test_not_an_export(message: bytes) -> None:
    """What cannot be read is refused whole, at once."""
    with pytest.raises(NotUnderstoodError):
        lines(message)


def test_an_empty_export() -> None:
    """It has no lines."""
    assert list(lines(b"")) == []
