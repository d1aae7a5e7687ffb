"""Lines of Envoy's access log, read as records."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_usage.record import MAX_TOKENS, Record, key, operation, record

from tests.unit.usage.lines import NODE, NOW, START, line, read, usage

WHOLE = Record(
    key="d3b9e3fce1d0a2d4",
    gateway="gw-1",
    deployment="dep-1",
    model="small",
    organization="org-1",
    principal="ann",
    entity="",
    project="",
    request_id="id-0",
    operation="chat",
    started_at=START * 1_000_000 + 123,
    seconds=1.5,
    first_byte_seconds=0.25,
    status=200,
    streamed=False,
    partial=False,
    prompt_tokens=5,
    completion_tokens=7,
    cached_tokens=None,
    total_tokens=12,
    reports=False,
)


def without_key(made: Record) -> Record:
    """Give a record with the key of `WHOLE`: other tests are about keys."""
    return dataclasses.replace(made, key=WHOLE.key)


def test_a_line_is_read() -> None:
    """Each attribute has its place."""
    assert without_key(read(line())) == WHOLE


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"reports": "true"}, {"reports": True}),
        ({"reports": "-"}, {}),
        ({"organization": "Acme%20%C3%A9%25"}, {"organization": "Acme é%"}),
        ({"entity": "team", "project": "team/a%20b"}, {"entity": "team", "project": "team/a b"}),
        ({"project": "team/%ff"}, {"project": "team/\ufffd"}),
        ({"model": "-", "deployment": ""}, {"model": "", "deployment": ""}),
        ({"principal": "p" * 5000}, {"principal": "p" * 512}),
        ({"status": "0"}, {"status": 0}),
        ({"status": "-"}, {"status": 0}),
        ({"status": "99999"}, {"status": 0}),
        ({"duration_ms": "-", "first_byte_us": "-"}, {"seconds": 0.0, "first_byte_seconds": None}),
        ({"duration_ms": "1e9"}, {"seconds": 0.0}),
        ({"duration_ms": "999999999999999"}, {"seconds": 2_592_000.0}),
        ({"start": f"{START}"}, {"started_at": START * 1_000_000}),
        ({"start": f"{START}.5"}, {"started_at": START * 1_000_000 + 500_000}),
        ({"start": "-"}, {"started_at": NOW}),
        ({"start": "-5.0"}, {"started_at": NOW}),
        ({"start": "99999999999"}, {"started_at": NOW}),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_attributes(changed: dict[str, str], expected: dict[str, Any]) -> None:
    """Names are decoded and cut; what is no number or no time is none."""
    assert without_key(read(line(0, **changed))) == dataclasses.replace(WHOLE, **expected)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", {"prompt_tokens": None, "completion_tokens": None, "total_tokens": 0}),
        ("{", {"prompt_tokens": None, "completion_tokens": None, "total_tokens": 0}),
        ("[1]", {"prompt_tokens": None, "completion_tokens": None, "total_tokens": 0}),
        ("[" * 3000, {"prompt_tokens": None, "completion_tokens": None, "total_tokens": 0}),
        (usage(cached_tokens=3), {"cached_tokens": 3}),
        (usage(prompt_tokens=5.0), {}),
        (usage(total_tokens=100), {"total_tokens": 100}),
        (usage(total_tokens=True), {}),
        (usage(total_tokens="many"), {}),
        (usage(total_tokens=-1), {}),
        (usage(total_tokens=float("nan")), {}),
        (usage(total_tokens=float("inf")), {}),
        (usage(total_tokens=10**400), {}),
        (usage(total_tokens=2**53), {"total_tokens": MAX_TOKENS}),
        (
            usage(MAX_TOKENS, MAX_TOKENS, total_tokens=None),
            {"prompt_tokens": MAX_TOKENS, "completion_tokens": MAX_TOKENS, "total_tokens": MAX_TOKENS},
        ),
        (
            '{"prompt_tokens":4,"whole":true}',
            {"prompt_tokens": 4, "completion_tokens": None, "total_tokens": 4},
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_tokens(said: str, expected: dict[str, Any]) -> None:
    """Counts are whole numbers from 0; above 10,000,000 they are that, beyond 2^53 and for nonsense there is none."""
    assert without_key(read(line(usage=said))) == dataclasses.replace(WHOLE, **expected)


@pytest.mark.parametrize(
    ("changed", "partial", "completion"),
    [
        ({"usage": '{"streamed":true,"whole":true,"events":9}'}, False, 9),
        ({"usage": '{"streamed":true,"events":9}'}, True, 9),
        ({"usage": '{"streamed":true}'}, True, None),
        ({"usage": '{"streamed":true,"events":9,"completion_tokens":4}'}, True, 4),
        ({"usage": '{"streamed":true,"whole":false,"events":2}'}, True, 2),
        ({"usage": '{"streamed":true,"events":9}', "status": "500"}, False, None),
        ({"usage": '{"streamed":true,"events":9}', "status": "0"}, False, None),
        ({"usage": '{"completion_tokens":4}'}, False, 4),
        ({"usage": '{"streamed":false}'}, True, None),
        ({"usage": "-"}, False, None),
        ({"usage": "-", "flags": "DC"}, True, None),
        ({"usage": "-", "flags": "URX,UC"}, True, None),
        ({"usage": "-", "flags": "DC", "status": "0"}, False, None),
        ({"usage": '{"whole":true}', "flags": "DC"}, False, None),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_what_is_partial(changed: dict[str, str], partial: bool, completion: int | None) -> None:  # noqa: FBT001
    """An answer that began well and did not end; a stream's content events stand for tokens that nobody told."""
    made = read(line(0, **changed))
    assert (made.partial, made.completion_tokens) == (partial, completion)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "chat"),
        ("/my/gateway/v1/chat/completions/", "chat"),
        ("/v1/responses", "chat"),
        ("/v1/completions", "text_completion"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/audio/transcriptions", "transcription"),
        ("/v1/models", "other"),
        ("", "other"),
    ],
)
def test_operations(path: str, name: str) -> None:
    """They are told by how a path ends, by the names of the semantic conventions where those have one."""
    assert operation(path) == name


@pytest.mark.parametrize("gateway", ["", "-"])
def test_no_gateway(gateway: str) -> None:
    """What no gateway let in is of no use."""
    assert record(line(gateway=gateway), NODE, NOW) is None
    assert record({}, NODE, NOW) is None


@pytest.mark.parametrize("name", ["request_id", "start", "connection", "stream"])
def test_each_part_makes_another_key(name: str) -> None:
    """A line sent again has the same key; one that differs in any part that names a request has not."""
    assert key(line(), NODE) == key(line(status="500"), NODE)
    assert key(line(), NODE) != key(line(0, **{name: "other"}), NODE)
    assert key(line(), NODE) != key(line(), "envoy-2")


@given(st.dictionaries(st.sampled_from(sorted(line())), st.text()), st.text())
def test_nothing_breaks_it(changed: dict[str, str], node: str) -> None:
    """Whatever a line says, it is a record within bounds or none."""
    made = record(dict(line()) | changed, node, NOW)
    if made is None:
        assert changed["gateway"] in {"", "-"}
        return
    assert 0 <= made.total_tokens <= MAX_TOKENS
    assert 0 <= made.started_at <= NOW + 86_400_000_000
    assert all(len(text) <= 1024 for text in (made.gateway, made.model, made.project, made.principal))
    made.project.encode()
