"""JSON bodies and what they ask for: docs/body-routing.md, rule by rule, in chunks of any size."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_extproc.json_body import MAX_MARKS, JsonBody
from igw_extproc.model_name import DUPLICATE, INVALID_JSON, INVALID_TYPE, MISSING, TOO_COMPLEX, unknown_model
from igw_model.openai import ApiError

from tests.unit.extproc.bodies import chunks, pieces, read

Cases = dict[str, tuple[bytes, str | ApiError]]


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """Give a body with so many levels, its own the first."""
    return b'{"a":' + opening * (levels - 1) + closing * (levels - 1) + b',"model":"gpt"}'


def with_marks(count: int, behind: bytes = b'"model":"gpt"}') -> bytes:
    """Give a body that has so many strings and brackets before what is behind them: at least four."""
    return b'{"a":[' + b'"",' * (count - 4) + b"1]," + behind


def named(spelling: bytes) -> bytes:
    """Give a body with a name that is spelled so."""
    return b'{"model":"' + spelling + b'"}'


READ: Cases = {
    "alone": (named(b"gpt"), "gpt"),
    "whitespace everywhere": (
        b' \r\n\t{ "messages" :\n[ ] , "model"\t: "org/gpt-4o:v1.2" }\r\n',
        "org/gpt-4o:v1.2",
    ),
    "a key in escapes": (b'{"mod\\u0065l":"gpt"}', "gpt"),
    "a name in escapes": (named(b"g\\u0070t"), "gpt"),
    "a name in UTF-8": (named("日本 語".encode()), "日本 語"),
    "a surrogate pair": (named(b"\\ud83d\\ude00"), "😀"),
    "nested before": (b'{"tools":[{"model":"inner"}],"model":"outer"}', "outer"),
    "nested behind": (b'{"model":"outer","tools":{"model":"inner","x":{"model":2}}}', "outer"),
    "within a string": (b'{"text":"\\"model\\": \\"a\\"","model":"b"}', "b"),
    "a string that ends in backslashes": (b'{"a":"\\\\","b":["\\\\\\"","\\\\"],"model":"b"}', "b"),
    "brackets in strings": (b'{"a":["]","}\\"]",{"[":"{"}],"model":"b"}', "b"),
    "scalars": (b'{"a":-0,"b":1.5E+3,"c":true ,"d":false,"e":null,"f":0.1e-9,"model":"b","g":12}', "b"),
    "a long key": (b'{"' + b"k" * 257 + b'":1,"model":"b"}', "b"),
    "a long key that says nothing in JSON": (b'{"' + b"\\x\xff" * 100 + b'":1,"model":"b"}', "b"),
    "a string that says nothing in JSON": (b'{"a":"\x01\xff\\x","model":"b"}', "b"),
    "what is nested is not read": (b'{"a":{"b" 01 tru,,:"\xff\x00"},"model":"b"}', "b"),
    "256 bytes": (named(b"a" * 256), "a" * 256),
    "256 bytes, 1536 as spelled": (named(b"\\u0061" * 256), "a" * 256),
    "level 512": (nested(512), "gpt"),
    "as many marks as may be": (with_marks(MAX_MARKS - 3), "gpt"),
    "a number of 1536 digits": (b'{"a":' + b"9" * 1536 + b',"model":"gpt"}', "gpt"),
}

REFUSED: Cases = {
    "no member": (b"{}", MISSING),
    "null": (b'{"model":null}', MISSING),
    "an empty name": (named(b""), MISSING),
    "nested alone": (b'{"messages":[{"model":"nested"}]}', MISSING),
    "another letter case": (b'{"Model":"gpt"}', MISSING),
    "null, then a name": (b'{"model":null,"model":"gpt"}', MISSING),
    "a number": (b'{"model":1}', INVALID_TYPE),
    "true": (b'{"model":true}', INVALID_TYPE),
    "a list, known at its first byte": (b'{"model":[', INVALID_TYPE),
    "an object, known at its first byte": (b'{"model":{', INVALID_TYPE),
    "a number that is none": (b'{"model":01}', INVALID_JSON),
    "twice": (b'{"model":"a","model":"a"}', DUPLICATE),
    "twice, known at the key": (b'{"model":"a","model"', DUPLICATE),
    "twice, once in escapes": (b'{"model":"a","\\u006Dodel":"b"}', DUPLICATE),
    "whitespace alone": (b" ", INVALID_JSON),
    "a list": (b"[]", INVALID_JSON),
    "a string": (b'"model"', INVALID_JSON),
    "no end": (b'{"model":"gpt"', INVALID_JSON),
    "more behind": (b'{"model":"gpt"}x', INVALID_JSON),
    "two": (b'{"model":"gpt"}{"model":"gpt"}', INVALID_JSON),
    "a comma before the end": (b'{"model":"gpt",}', INVALID_JSON),
    "a comma at the beginning": (b'{,"model":"gpt"}', INVALID_JSON),
    "no comma": (b'{"model":"gpt" "a":1}', INVALID_JSON),
    "no colon": (b'{"model" "gpt"}', INVALID_JSON),
    "no value": (b'{"a":,"model":"gpt"}', INVALID_JSON),
    "other quotes": (b"{'model':'gpt'}", INVALID_JSON),
    "NaN": (b'{"t":NaN,"model":"gpt"}', INVALID_JSON),
    "Infinity": (b'{"t":-Infinity,"model":"gpt"}', INVALID_JSON),
    "a leading zero": (b'{"t":01,"model":"gpt"}', INVALID_JSON),
    "a number without an end": (b'{"t":1.,"model":"gpt"}', INVALID_JSON),
    "a number of 1537 digits": (b'{"t":' + b"9" * 1537, INVALID_JSON),
    "trues": (b'{"t":truee,"model":"gpt"}', INVALID_JSON),
    "a control character in a key": (b'{"a\x01":1,"model":"gpt"}', INVALID_JSON),
    "a key in no UTF-8": (b'{"a\xff":1,"model":"gpt"}', INVALID_JSON),
    "half a surrogate in a key": (b'{"a\\ud800":1,"model":"gpt"}', INVALID_JSON),
    "a name in no UTF-8": (named(b"\xc0\x80"), INVALID_JSON),
    "half a surrogate in a name": (named(b"\\udc00"), INVALID_JSON),
    "a byte order mark": (b'\xef\xbb\xbf{"model":"gpt"}', INVALID_JSON),
    "UTF-16": ('{"model":"gpt"}'.encode("utf-16"), INVALID_JSON),
    "brackets of two kinds": (b'{"a":[}', INVALID_JSON),
    "level 513": (nested(513), INVALID_JSON),
    "level 513 of objects": (nested(513, b'{"":', b"}"), INVALID_JSON),
    "one mark too many": (with_marks(MAX_MARKS - 2), TOO_COMPLEX),
    "marks without an end": (b'{"a":' + b"[]" * MAX_MARKS, INVALID_JSON),
    "lists without an end": (b'{"a":[' + b"[]" * MAX_MARKS, TOO_COMPLEX),
    "a name with a control character": (named(b"a\\n"), unknown_model("a\n")),
    "a name of 257 bytes": (named(b"a" * 257), unknown_model("a" * 257)),
    "a name of 1537 bytes as spelled": (b'{"model":"' + b"a" * 1537, unknown_model("")),
    "a name in no UTF-8, too long to be looked at": (named(b"\xff" * 1537), unknown_model("")),
}

IN_ORDER: Cases = {
    "the name, then no JSON": (named(b" ") + b"x", unknown_model(" ")),
    "no JSON, then twice": (b'{"model":"a",1,"model":"b"}', INVALID_JSON),
    "twice, then no JSON": (b'{"model":"a","model":"b"', DUPLICATE),
    "too complex, then no JSON": (with_marks(MAX_MARKS + 9, b"}"), TOO_COMPLEX),
    "too deep, then too complex": (b'{"a":' + b"[" * 512 + b"[]" * MAX_MARKS, INVALID_JSON),
}

CASES = READ | REFUSED | IN_ORDER


@pytest.mark.parametrize(("body", "answer"), CASES.values(), ids=CASES.keys())
def test_rules(body: bytes, answer: str | ApiError) -> None:
    """A body is answered by the first rule that it breaks, read at once or in pieces."""
    sizes = [len(body), 16_384, 1_000] + ([1, 2, 3, 7] if len(body) < 10_000 else [])
    assert [read(JsonBody(), pieces(body, size)) for size in sizes] == [answer] * len(sizes)


SHORT = [body for body, _ in CASES.values() if len(body) < 2_000]


@given(st.data())
def test_any_chunking_gives_the_same_answer(data: st.DataObject) -> None:
    """Envoy and TCP may cut anywhere."""
    body = data.draw(st.sampled_from(SHORT))
    assert read(JsonBody(), data.draw(chunks(body))) == read(JsonBody(), [body])


@given(st.data())
def test_any_bytes_give_the_same_answer_in_any_chunking(data: st.DataObject) -> None:
    """Also what nobody thought of, made of the bytes that mean something."""
    token = st.sampled_from(
        [b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b" ", b"1", b'"model"', b'"a"', b"null"]
    )
    body = b'{"a":' + b"".join(data.draw(st.lists(token)))
    assert read(JsonBody(), data.draw(chunks(body))) == read(JsonBody(), [body])


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=30).filter(
    lambda name: name == name.strip(" ")
)


@given(
    st.dictionaries(TEXT, VALUES, max_size=5),
    NAMES,
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
    st.data(),
)
def test_what_python_reads_is_read(
    document: dict[str, Any],
    name: str,
    ascii_only: bool,  # noqa: FBT001
    indent: int | str | None,
    data: st.DataObject,
) -> None:
    """Any JSON that has each key once, however it is written: its model is what a model server reads."""
    members = list({**document, "model": name}.items())
    shuffled = dict(data.draw(st.permutations(members)))
    body = json.dumps(shuffled, ensure_ascii=ascii_only, indent=indent).encode()
    assert read(JsonBody(), data.draw(chunks(body))) == json.loads(body)["model"]


@given(st.dictionaries(TEXT, VALUES, max_size=5), VALUES.filter(lambda value: not isinstance(value, str)))
def test_what_names_no_model_is_refused(document: dict[str, Any], value: Any) -> None:
    """A valid document without a name is no JSON error."""
    body = json.dumps({**document, "model": value}).encode()
    assert read(JsonBody(), [body]) == (MISSING if value is None else INVALID_TYPE)


SPACES, BACKSLASHES = b" " * 16_384, b"\\\\" * 8_192


@pytest.mark.parametrize(
    ("begin", "bulk"),
    [
        (b'{"a":"', BACKSLASHES),
        (b'{"', BACKSLASHES),
        (b'{"a":["', BACKSLASHES),
        (b'{"a":"\\', BACKSLASHES),
        (b'{"a":[' + b"[" * 400, SPACES),
        (b" ", SPACES),
        (b'{"model":"gpt"}', SPACES),
    ],
    ids=["string", "key", "nested string", "escape", "lists", "before", "behind"],
)
def test_nothing_of_a_body_is_held(begin: bytes, bulk: bytes) -> None:
    """A body of 32 MiB costs a few kilobytes, wherever its bulk is."""
    reader = JsonBody()
    reader.feed(begin)
    tracemalloc.start()
    for _ in range(2_048):
        reader.feed(bulk)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4_096
    assert peak < 65_536
