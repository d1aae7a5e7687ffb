"""The script makes streaming completions ask for their usage, and changes nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.scripts.body_requests import CHAT, Outcome, play

ASKED = b'"stream_options":{"include_usage":true}'
CHANGES = {
    b'{"stream":true}': b'{"stream_options":{"include_usage":true},"stream":true}',
    b' { "stream" :true , "a":1}\n': b' {"stream_options":{"include_usage":true}, "stream" :true , "a":1}\n',
    b'{"stream":true,"stream_options": null }': b'{"stream":true,"stream_options": {"include_usage":true} }',
    b'{"stream_options":{},"stream":true}': b'{"stream_options":{"include_usage":true},"stream":true}',
    b'{"stream_options":{ \n},"stream":true}': b'{"stream_options":{"include_usage":true \n},"stream":true}',
    b'{"stream":true,"stream_options":{"x":1}}': b'{"stream":true,"stream_options":{"include_usage":true,"x":1}}',
    b'{"stream":true,"stream_options":{"include_usage":false,"x":[]}}': (
        b'{"stream":true,"stream_options":{"include_usage":true,"x":[]}}'
    ),
    b'{"stream":true,"stream_options":{"x":{"include_usage":true},"include_usage" : null}}': (
        b'{"stream":true,"stream_options":{"x":{"include_usage":true},"include_usage" : true}}'
    ),
    b'{"stream":true,"stream_options":{"include_usage":{"a":["}"]}}}': (
        b'{"stream":true,"stream_options":{"include_usage":true}}'
    ),
    b'{"stream":true,"stream_options":{"include\\u005fusage":"no"}}': (
        b'{"stream":true,"stream_options":{"include\\u005fusage":true}}'
    ),
    b'{"str\\u0065am":true,"seed":12345678901234567890.10}': (
        b'{"stream_options":{"include_usage":true},"str\\u0065am":true,"seed":12345678901234567890.10}'
    ),
    b'{"stream":false,"stream":true}': b'{"stream_options":{"include_usage":true},"stream":false,"stream":true}',
    b'{"stream":true,"stream_options":null,"stream_options":{}}': (
        b'{"stream":true,"stream_options":null,"stream_options":{"include_usage":true}}'
    ),
}
UNTOUCHED = [
    b"",
    b"{}",
    b'{"stream":false}',
    b'{"stream":null}',
    b'{"stream":"true"}',
    b'{"stream":[true]}',
    b'{"stream":1}',
    b'{"a":{"stream":true}}',
    b'{"stream":true,"stream":false}',
    b'{"stream":true,"stream_options":{"include_usage":true}}',
    b'{"stream":true,"stream_options":{"a":1, "include_usage" : true }}',
    b'{"stream":true,"stream_options":"x"}',
    b'{"stream":true,"stream_options":[]}',
    b'{"stream":true,"stream_options":{a}}',
    b'{"stream":true,"stream_options":{"a":1,}}',
    b'{"stream":true}x',
    b'{"stream":true',
    b'[{"stream":true}]',
    b"data",
]


def asks(body: bytes, path: str = CHAT, **more: Any) -> Outcome:
    """Send a request to a gateway that reads no model."""
    return play(body, model=False, stream_usage=True, path=path, **more)


@pytest.mark.parametrize("window", [65536, 1])
@pytest.mark.parametrize(("body", "changed"), CHANGES.items(), ids=lambda body: body.decode())
def test_what_is_changed(body: bytes, changed: bytes, window: int) -> None:
    """The one place is changed, the length is put right, and the extra chunk is to be hidden."""
    assert asks(body, window=window) == Outcome(None, changed, str(len(changed)), hides=True)


@pytest.mark.parametrize("body", UNTOUCHED, ids=lambda body: body.decode())
def test_what_is_not(body: bytes) -> None:
    """What does not stream, asks itself, or is not valid goes on as it came; so does no body at all."""
    assert asks(body) == Outcome(None, body, str(len(body)))


def test_no_body_at_all() -> None:
    """A request without a body is left alone."""
    assert play(None, model=False, stream_usage=True) == Outcome(None, None, "0")


@pytest.mark.parametrize(
    ("method", "path", "changed"),
    [
        ("POST", "/v1/chat/completions", True),
        ("POST", "/v1/completions?x=/y", True),
        ("POST", "/demo%2Fsmall/v1/chat/completions", True),
        ("POST", "/v1/responses", False),
        ("POST", "/v1/completions/", False),
        ("POST", "/v1/x?/completions", False),
        ("POST", "/v1/chatcompletions", False),
        ("PUT", "/v1/chat/completions", False),
    ],
)
def test_which_requests(method: str, path: str, changed: bool) -> None:  # noqa: FBT001 - a case
    """Only OpenAI's two kinds of completions are changed."""
    assert asks(b'{"stream":true}', path, method=method).hides == changed


def test_with_a_model() -> None:
    """A body gateway's request is routed and changed in one reading; one that is refused is not changed."""
    body = b'{"model":"x","stream":true}'
    changed = b"{" + ASKED + b"," + body[1:]
    assert play(body, stream_usage=True) == Outcome("x", changed, str(len(changed)), hides=True, cleared=True)
    refused = play(b'{"stream":true}', stream_usage=True)
    assert (refused.body, refused.hides) == (b'{"stream":true}', False)
    assert isinstance(refused.answer, tuple)


def test_without_a_model() -> None:
    """Where no model is read, nothing is said of it."""
    body = b'{"model":1,"model":null,"stream":true}'
    assert asks(body).body == b"{" + ASKED + b"," + body[1:]


@pytest.mark.parametrize(
    "headers",
    [{"content-encoding": "gzip"}, {"content-type": "multipart/form-data; boundary=x"}],
    ids=["gzip", "multipart"],
)
def test_what_is_no_plain_json(headers: dict[str, str]) -> None:
    """It is not looked at, nor refused for it where no model is read."""
    assert asks(b'{"stream":true}', headers=headers) == Outcome(None, b'{"stream":true}', "15")


def test_no_length_is_made_up() -> None:
    """A body sent in chunks keeps being one."""
    outcome = asks(b'{"stream":true}', headers={"content-length": None})
    assert (outcome.length, outcome.hides) == (None, True)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.decimals(allow_nan=False, allow_infinity=False).map(float),
        st.text(max_size=4),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
TRUE_OR_ANY = st.just(True) | VALUES
OPTIONS = st.one_of(
    VALUES, st.dictionaries(st.sampled_from(["include_usage", "x", "é"]), TRUE_OR_ANY, max_size=3)
)
MEMBERS = st.tuples(st.just("stream"), TRUE_OR_ANY) | st.tuples(st.just("stream_options"), OPTIONS)
DOCUMENTS = st.lists(MEMBERS | st.tuples(st.text(max_size=3), VALUES), max_size=6).map(dict)
SPACES = st.sampled_from([None, 1, "\t"])


def asking(document: dict[str, Any]) -> dict[str, Any]:
    """Give the document as it must reach the model server."""
    options = document.get("stream_options")
    if document.get("stream") is not True or not isinstance(options, dict | None):
        return document
    return {**document, "stream_options": {**(options or {}), "include_usage": True}}


@settings(max_examples=500, deadline=None)
@given(DOCUMENTS, SPACES, st.booleans(), st.sampled_from([1, 7, 65536]))
def test_any_document(document: dict[str, Any], indent: Any, ascii_only: bool, window: int) -> None:  # noqa: FBT001
    """What comes out says the same but for the one key, and is not changed by a second reading."""
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    outcome = asks(body, window=window)
    assert outcome.body is not None
    assert json.loads(outcome.body.decode("utf-8", "surrogatepass")) == asking(document)
    assert outcome.hides == (outcome.body != body)
    assert outcome.length == str(len(outcome.body))
    assert asks(outcome.body, window=window).body == outcome.body
