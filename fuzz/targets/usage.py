"""What Envoys tell the collector: any export is records or refused, its records are bounded, and can be counted.

An export is OTLP's bytes; every other input is also read as the attributes of one line, `name=value` a line each.
"""

import sqlite3
from contextlib import suppress
from functools import cache

from igw_usage import query, totals
from igw_usage.database import _TABLES
from igw_usage.otlp import NotUnderstoodError, lines
from igw_usage.record import FUTURE_MICROS, MAX_NAME, MAX_PROJECT, MAX_SECONDS, MAX_TOKENS, Record, record

WATCHED = ("igw_usage",)
MAX_BYTES = 4096
_NOW = 1_700_000_000_000_000
_ALL = query.Query(query.FIRST_MINUTE, 2**27, group=query.Group.MODEL, interval=query.Interval.DAY)


def check(data: bytes) -> None:
    """Read an export, and one line."""
    text = data.decode(errors="replace")
    said = dict(line.partition("=")[::2] for line in text.split("\n"))
    found = [record(said, "envoy", _NOW)]
    with suppress(NotUnderstoodError):
        found += [record(attributes, node, _NOW) for node, attributes in lines(data)]
    records = [one for one in found if one is not None]
    for one in records:
        _judge(one)
    if records:
        _count(records)
    _ask(text)


def _judge(made: Record) -> None:
    names = (made.gateway, made.deployment, made.model, made.organization, made.principal, made.entity)
    assert made.gateway
    assert all(len(name) <= MAX_NAME for name in (*names, made.request_id, made.operation))
    assert len(made.project) <= MAX_PROJECT
    assert len(bytes.fromhex(made.key)) == 32
    assert 0 <= made.started_at <= _NOW + FUTURE_MICROS
    assert 0 <= made.seconds <= MAX_SECONDS
    assert made.first_byte_seconds is None or 0 <= made.first_byte_seconds <= MAX_SECONDS
    assert 0 <= made.status < 1000
    tokens = (made.prompt_tokens, made.completion_tokens, made.cached_tokens, made.total_tokens)
    assert all(count is None or 0 <= count <= MAX_TOKENS for count in tokens)


def _count(records: list[Record]) -> None:
    """Count records, twice over: each once, and all of what they used."""
    connection = _ledger()
    connection.execute("BEGIN")
    new = totals.unseen(connection, records, 0)
    assert totals.unseen(connection, records, 0) == []
    assert len(new) == len({one.key for one in records})
    totals.add(connection, new)
    told = query.answer(connection, _ALL)
    connection.execute("ROLLBACK")
    if len(new) <= query.MAX_ITEMS:
        assert told["totals"]["totalTokens"] == sum(one.total_tokens for one in new), told
        assert told["totals"]["requests"] == len(new), told


@cache
def _ledger() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(_TABLES)
    return connection


def _ask(text: str) -> None:
    """Read a question of the same lines."""
    given = [(name, value) for name, _, value in (line.partition("=") for line in text.split("\n"))]
    try:
        asked = query.query(given, 0)
    except query.WrongError as wrong:
        told = str(wrong)
    else:
        told = str(query.answer(_ledger(), asked)["items"])
        assert told == "[]"
    assert len(told) < 2 * query.MAX_TEXT
