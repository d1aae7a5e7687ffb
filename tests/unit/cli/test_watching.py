"""`igw get --watch` for programs: the present, then what changed, in columns that stay."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from igw_cli.client import Exit, FailedError
from igw_cli.objects import GATEWAY, Object
from igw_cli.show import Output, table_of
from igw_cli.watching import Watch

from tests.builders import gateway_spec

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def thing(number: int, status: str, **fields: Any) -> Object:
    """Give a gateway as the API shows it."""
    created = "2026-01-31T11:59:55Z"
    return {
        "spec": gateway_spec(number, **fields),
        "status": {"status": f"STATUS_{status}", "createdAt": created},
    }


def watch(output: Output, read: Callable[[], list[Object]] = list) -> Watch:
    """Give a watch of gateways."""
    return Watch(GATEWAY, read, lambda things: table_of(GATEWAY, things, {}, NOW), output)


STATES = [
    [thing(1, "CREATING", name="a-long-name")],
    [thing(1, "CREATING", name="a-long-name")],
    [thing(1, "READY", name="a-long-name"), thing(2, "CREATING", name="b")],
    [thing(1, "READY", name="a-long-name"), thing(2, "READY", name="b")],
    [thing(2, "READY", name="b")],
]


def test_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each change, below one header; what went is GONE."""
    watching = watch(Output.TABLE)
    for state in STATES:
        watching.show(state)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["NAME", "STATUS"],
        ["a-long-name", "CREATING"],
        ["a-long-name", "READY"],
        ["b", "CREATING"],
        ["b", "READY"],
        ["a-long-name", "GONE"],
    ]
    assert {line.index(line.split()[1]) for line in lines} == {len("a-long-name  ")}


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One document a line."""
    watching = watch(Output.JSON)
    for state in STATES:
        watching.show(state)
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(d["spec"]["name"], d["status"]["status"]) for d in documents] == [
        ("a-long-name", "STATUS_CREATING"),
        ("a-long-name", "STATUS_READY"),
        ("b", "STATUS_CREATING"),
        ("b", "STATUS_READY"),
        ("a-long-name", "GONE"),
    ]


def test_a_server_that_is_away(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once and waited for; what is not there may come; a refusal ends the watch."""
    monkeypatch.setattr("igw_cli.watching.WATCH_SECONDS", 0)
    answers: list[list[Object] | FailedError] = [
        FailedError("away", Exit.UNAVAILABLE),
        FailedError("away", Exit.UNAVAILABLE),
        FailedError("nothing yet", Exit.NOT_FOUND),
        [thing(1, "READY")],
        FailedError("no", Exit.REFUSED),
    ]

    def read() -> list[Object]:
        answer = answers.pop(0)
        if isinstance(answer, FailedError):
            raise answer
        return answer

    with pytest.raises(FailedError, match="no"):
        watch(Output.TABLE, read).run()
    shown = capsys.readouterr()
    assert shown.err == "away; waiting for it\n"
    assert [line.split()[:2] for line in shown.out.splitlines()] == [
        ["NAME", "STATUS"],
        ["gateway-1", "READY"],
    ]
