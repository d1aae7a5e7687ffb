"""A child's line of output becomes one readable line and a colour."""

import json
from typing import Any

import pytest
from igw_cli.lines import readable

ACCESS = {
    "method": "POST",
    "host": "api.example.com",
    "path": "/v1/chat/completions",
    "status": 200,
    "duration_ms": 12,
    "replica": "127.0.0.1:9001",
    "principal": "user",
    "details": "via_upstream",
}


@pytest.mark.parametrize(
    "line", ["", "plain text", "{broken", "[1]", "1", "null", '"text"', '{"a": 1}', '{"event": 1}']
)
def test_other_lines_stay_as_they_are(line: str) -> None:
    """What is no log of ours is shown as it is."""
    assert readable(line) == (line, None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"event": "started", "level": "info", "timestamp": "t", "service": "xds"}, ("started", None)),
        ({"event": "slow", "level": "warning", "ms": 5, "why": "a b"}, ("slow  ms=5 why=a b", "yellow")),
        ({"event": "failed", "level": "error", "error": {"a": "ü"}}, ('failed  error={"a": "ü"}', "red")),
        ({"event": "x", "level": "critical", "text": "a\nb\x1b[2J"}, ('x  text="a\\nb\\u001b[2J"', "red")),
    ],
)
def test_a_log_line(fields: dict[str, Any], expected: tuple[str, str | None]) -> None:
    """The event and its values; a value cannot write to the terminal."""
    assert readable(json.dumps(fields)) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {},
            (
                "POST api.example.com/v1/chat/completions 200 12 ms  replica=127.0.0.1:9001 principal=user",
                None,
            ),
        ),
        (
            {"status": 503, "replica": None, "principal": None, "details": "no_healthy_upstream"},
            ("POST api.example.com/v1/chat/completions 503 12 ms  details=no_healthy_upstream", "red"),
        ),
        (
            {"status": 404, "replica": None, "principal": None},
            ("POST api.example.com/v1/chat/completions 404 12 ms", None),
        ),
        (
            {"status": 0, "replica": "", "principal": ""},
            ("POST api.example.com/v1/chat/completions 0 12 ms", None),
        ),
    ],
)
def test_an_access_line(changed: dict[str, Any], expected: tuple[str, str | None]) -> None:
    """One request in one line: who asked for what, and how it went."""
    assert readable(json.dumps({**ACCESS, **changed})) == expected
