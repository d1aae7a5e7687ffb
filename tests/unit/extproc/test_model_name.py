"""Bodies and what they ask for."""

import json
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from igw_extproc.model_name import (
    DUPLICATE,
    INVALID_JSON,
    INVALID_TYPE,
    MISSING,
    ModelName,
    model_name,
    unknown_model,
)
from igw_model.openai import ApiError

NAMES = {
    b'{"model":"gpt"}': "gpt",
    b' \r\n\t{"messages":[],"model" : "org/gpt-4o:v1.2"}\n': "org/gpt-4o:v1.2",
    b'{"mod\\u0065l":"gpt"}': "gpt",
    b'{"model":"g\\u0070t"}': "gpt",
    b'{"tools":[{"model":"inner"}],"model":"outer"}': "outer",
    b'{"model":"outer","tools":{"model":"inner","x":{"model":2}}}': "outer",
    b'{"text":"\\"model\\": \\"a\\"","model":"b"}': "b",
    b'{"text":"\\u0065","model":"b"}': "b",
    '{"model":"日本 語"}'.encode(): "日本 語",
    b'{"model":"\\ud83d\\ude00"}': "😀",
    b'{"model":"a b"}': "a b",
    b'{"seed":' + b"9" * 10_000 + b',"model":"gpt"}': "gpt",
    b'{"seed":1e400,"model":"gpt"}': "gpt",
    b'{"a":' + b"[" * 500 + b"]" * 500 + b',"model":"gpt"}': "gpt",
    b'{"model":"' + b"a" * 256 + b'"}': "a" * 256,
    b'{"messages":"' + b"x" * 10_000_000 + b'","model":"gpt"}': "gpt",
}

REFUSALS = {
    b"": MISSING,
    b"{}": MISSING,
    b'{"model":null}': MISSING,
    b'{"model":""}': MISSING,
    b'{"messages":[{"model":"nested"}]}': MISSING,
    b'{"Model":"gpt"}': MISSING,
    b'{"model":"a","model":null}': MISSING,
    b'{"model":1}': INVALID_TYPE,
    b'{"model":true}': INVALID_TYPE,
    b'{"model":["gpt"]}': INVALID_TYPE,
    b'{"model":{"model":"gpt"}}': INVALID_TYPE,
    b'{"model":"a","model":1}': INVALID_TYPE,
    b'{"model":"a","model":"b"}': DUPLICATE,
    b'{"model":"a","model":"a"}': DUPLICATE,
    b'{"model":1,"model":"b"}': DUPLICATE,
    b'{"model":null,"model":"b"}': DUPLICATE,
    b'{"mod\\u0065l":"a","model":"b"}': DUPLICATE,
    b'{"model":"a","\\u006Dodel":"b"}': DUPLICATE,
    b'{"\\u006d\\u006f\\u0064\\u0065\\u006c":"a","mode\\u006C":"b"}': DUPLICATE,
    b'{"model":[' + b"[]," * 100_000 + b'1],"model":"b"}': DUPLICATE,
    b" ": INVALID_JSON,
    b"[]": INVALID_JSON,
    b'"model"': INVALID_JSON,
    b"null": INVALID_JSON,
    b'{"model":"gpt"': INVALID_JSON,
    b'{"model":"gpt"}x': INVALID_JSON,
    b'{"model":"gpt"}{"model":"gpt"}': INVALID_JSON,
    b'{"model":"gpt",}': INVALID_JSON,
    b"{'model':'gpt'}": INVALID_JSON,
    b'{"model":"gpt","t":NaN}': INVALID_JSON,
    b'{"model":"gpt","t":-Infinity}': INVALID_JSON,
    b'{"model":"gpt","t":01}': INVALID_JSON,
    b'{"model":"gpt","t":"\x01"}': INVALID_JSON,
    b'{"model":"gpt","t":"\xff"}': INVALID_JSON,
    b'{"model":"gpt","t":"\xed\xa0\x80"}': INVALID_JSON,
    b'{"model":"\xc0\x80"}': INVALID_JSON,
    b'{"model":"gpt","t":"\\ud800"}': INVALID_JSON,
    b'{"model":"\\udc00"}': INVALID_JSON,
    b'\xef\xbb\xbf{"model":"gpt"}': INVALID_JSON,
    '{"model":"gpt"}'.encode("utf-16"): INVALID_JSON,
    b'--boundary\r\ncontent-disposition: form-data; name="model"\r\n\r\ngpt': INVALID_JSON,
    b"[" * 100_000: INVALID_JSON,
    b'{"a":' * 100_000: INVALID_JSON,
    b'{"model":"gpt","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}": INVALID_JSON,
    b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}": INVALID_JSON,
}

UNROUTABLE = ["a\nb", "a\x00", "\x7f", "a\x85b", " a", "a ", "\u00a0a", "a\t", " ", "a" * 257, "é" * 129]


@pytest.mark.parametrize(("body", "name"), NAMES.items(), ids=lambda value: repr(value[:40]))
def test_names(body: bytes, name: str) -> None:
    """The model is the string at the top-level key `model`, wherever it stands and however it is spelled."""
    assert model_name(body) == ModelName(name)


@pytest.mark.parametrize(("body", "error"), REFUSALS.items(), ids=lambda value: repr(value)[:40])
def test_refusals(body: bytes, error: ApiError) -> None:
    """A body that is not one JSON object of RFC 8259 with one string `model` is refused with its own code."""
    assert model_name(body) == error


@pytest.mark.parametrize("name", UNROUTABLE, ids=lambda name: repr(name)[:20])
def test_names_that_no_deployment_can_have(name: str) -> None:
    """A string that cannot be a header's value, or is too long, is a model that does not exist."""
    assert model_name(json.dumps({"model": name}).encode()) == unknown_model(name)


def test_unknown_model_is_404_as_openai_says_it() -> None:
    """The 404 names the parameter, the code and the model as OpenAI does."""
    assert unknown_model("gpt") == ApiError(404, "model_not_found", "The model `gpt` does not exist", "model")


@given(st.text())
@example("😀" * 1000)
def test_echo_is_short_and_printable(name: str) -> None:
    """Nothing of the client's that could forge a line or fill a log comes back in a message."""
    message = unknown_model(name).message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 700


def test_hostile_bodies_are_cheap() -> None:
    """No 16 MB body makes us build what it nests: each takes far less than Envoy's message timeout."""
    lists = b"[" + b"[]," * 5_000_000 + b"1]"
    bodies = [
        b'{"a":' + lists + b',"model":"x"}',
        b'{"model":' + lists + b',"model":"x"}',
        b'{"model":"x","model":' + lists + b"}",
        b"{" + b'"model":"a",' * 1_300_000 + b'"model":"x"}',
    ]
    started = time.process_time()
    for body in bodies:
        model_name(body)
    assert time.process_time() - started < 1.0


class Pairs(list[tuple[str, Any]]):
    """A JSON object with every member it was written with."""


class Number:
    """Any JSON number."""


def reference(body: bytes) -> ModelName | ApiError:  # noqa: PLR0911 - one rule a line, in their order
    """The same answer, slowly: by the json module, every member kept."""
    if not body:
        return MISSING
    try:
        document = _strict(body)
    except ValueError:
        return INVALID_JSON
    if not isinstance(document, Pairs):
        return INVALID_JSON
    models = [value for key, value in document if key == "model"]
    if not models or models[-1] is None or models[-1] == "":
        return MISSING
    if not isinstance(models[-1], str):
        return INVALID_TYPE
    if len(models) > 1:
        return DUPLICATE
    name = models[0]
    controls = any(unicodedata.category(character) == "Cc" for character in name)
    if controls or name.strip() != name or len(name.encode()) > 256:
        return unknown_model(name)
    return ModelName(name)


def _strict(body: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    document = json.loads(
        body.decode(),
        object_pairs_hook=Pairs,
        parse_int=lambda _: Number(),
        parse_float=lambda _: Number(),
        parse_constant=refuse,
    )
    _check_strings(document)
    return document


def _check_strings(value: Any) -> None:
    """UnicodeEncodeError, a ValueError, for a lone surrogate."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, list | tuple):
        for part in value:
            _check_strings(part)


@st.composite
def spelled(draw: st.DrawFn, text: str) -> str:
    """A JSON string for the text, each character plain or escaped."""
    escaped = [
        f"\\u{ord(character):04x}"
        if ord(character) < 0x10000 and draw(st.booleans())
        else json.dumps(character)[1:-1]
        for character in text
    ]
    return '"' + "".join(escaped) + '"'


KEYS = st.one_of(st.sampled_from(["model", "model", "mode", "models", "messages", ""]), st.text(max_size=4))
STRINGS = st.one_of(
    st.sampled_from(["model", '"model"', "gpt", "", "\ud800", "x\x00", " x", "a" * 257]), st.text(max_size=6)
).flatmap(spelled)
SCALARS = st.one_of(
    STRINGS, st.sampled_from(["null", "true", "false", "0", "-1.5e3", "NaN", "01", "9" * 5000, "1e999"])
)
SPACE = st.sampled_from(["", "", " ", "\n"])


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """JSON objects, members repeated or not."""
    member = st.tuples(KEYS.flatmap(spelled), SPACE, values).map(
        lambda parts: f"{parts[0]}{parts[1]}:{parts[2]}"
    )
    return st.lists(member, max_size=4).map(lambda members: "{" + ",".join(members) + "}")


VALUES = st.recursive(
    SCALARS,
    lambda inner: objects(inner) | st.lists(inner, max_size=3).map(lambda v: "[" + ",".join(v) + "]"),
    max_leaves=6,
)
BODIES = st.one_of(objects(VALUES), VALUES).map(lambda text: text.encode("utf-8", "surrogatepass"))


@given(BODIES)
@example(b'{"a":"\\ud83d\\ude00\\ud800"}')
@example(b'{"model":"x","\\u006dodel":"y"}')
def test_agrees_with_the_json_module(body: bytes) -> None:
    """The quick reading and a full one by Python's json module give the same answer for any document."""
    assert model_name(body) == reference(body)


@given(BODIES, st.integers(0, 200), st.integers(0, 3), st.binary(max_size=3))
def test_agrees_on_damaged_documents(body: bytes, at: int, removed: int, inserted: bytes) -> None:
    """Also when bytes of the document are lost or slipped in."""
    damaged = body[:at] + inserted + body[at + removed :]
    assert model_name(damaged) == reference(damaged)


@given(st.binary())
def test_any_bytes_have_an_answer(body: bytes) -> None:
    """No bytes raise."""
    assert isinstance(model_name(body), ModelName | ApiError)
