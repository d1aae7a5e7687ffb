"""The script that reads a request's body finds what extproc finds, however its windows cut the body."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from igw_extproc import json_body, model_name
from igw_extproc.json_body import JsonBody
from igw_extproc.model_name import Refusal
from igw_model.openai import ApiError

from tests.real_envoy.body_cases import ENCODED, JSON_CASES, MISSING, NO_MULTIPART, Case
from tests.unit.scripts.body_requests import Outcome, play, refusal

UNAVAILABLE = ApiError(
    503, "routing_unavailable", "The model could not be read from your request now. Try again soon."
)
TIGHT: Mapping[str, int] = {
    "MOST_TOKENS": 12,
    "MOST_QUOTES": 2,
    "MOST_MEMBERS": 3,
    "DEEPEST": 4,
    "LONGEST_KEY": 8,
    "LONGEST_SPELLING": 12,
    "LONGEST_NAME": 3,
}
WINDOWED = [
    (case, window)
    for case in JSON_CASES
    for window in (65536, 7, 1)
    if window == 65536 or len(case.body or b"") < 10_000
]
WINDOWS = st.sampled_from([1, 2, 3, 5, 8, 64, 65536])
MANY = settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def extproc(body: bytes) -> str | tuple[int, bytes]:
    """Give the answer of the other engine."""
    scan = JsonBody()
    try:
        scan.feed(body)
        return scan.end().text
    except Refusal as refused:
        return refusal(refused.error)


@contextmanager
def tight() -> Iterator[None]:
    """Hold the other engine to the limits of `TIGHT`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_body, "MAX_MARKS", TIGHT["MOST_TOKENS"])
        patch.setattr(json_body, "MAX_ESCAPED_QUOTES", TIGHT["MOST_QUOTES"])
        patch.setattr(json_body, "MAX_MEMBERS", TIGHT["MOST_MEMBERS"])
        patch.setattr(json_body, "MAX_LEVELS", TIGHT["DEEPEST"])
        patch.setattr(json_body, "MAX_KEY_BYTES", TIGHT["LONGEST_KEY"])
        patch.setattr(json_body, "MAX_SPELLING_BYTES", TIGHT["LONGEST_SPELLING"])
        patch.setattr(model_name, "MAX_NAME_BYTES", TIGHT["LONGEST_NAME"])
        yield


@pytest.mark.parametrize(("case", "window"), WINDOWED, ids=[f"{c.name}, {w}" for c, w in WINDOWED])
def test_the_table(case: Case, window: int) -> None:
    """Each body of the shared table is answered as it says; small bodies also in windows of a few bytes."""
    assert case.body is not None
    outcome = play(case.body, window=window)
    match case.answer:
        case str(name):
            assert (outcome.answer, outcome.cleared) == (name, True)
        case (int(status), str(code)):
            assert isinstance(outcome.answer, tuple)
            assert (outcome.answer[0], json.loads(outcome.answer[1])["error"]["code"]) == (status, code)
        case error:
            assert (outcome.answer, outcome.cleared) == (refusal(error), False)
    assert outcome.body == case.body


@pytest.mark.parametrize("case", JSON_CASES, ids=lambda case: case.name)
def test_the_table_is_extprocs_too(case: Case) -> None:
    """The two engines give one answer for each body of the table, to the byte."""
    assert case.body is not None
    assert play(case.body).answer == extproc(case.body)


def _spelled(text: str, escaped: list[bool]) -> str:
    """Spell a string's content, some of its characters as escapes."""
    parts = []
    for index, character in enumerate(text):
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        units = character.encode("utf-16-be", "surrogatepass")
        escape = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
        parts.append(escape if index < len(escaped) and escaped[index] else plain)
    return "".join(parts)


TEXTS = st.text(
    alphabet=st.one_of(st.sampled_from('model"\\{}[]:, é日😀\t\x7f\x85'), st.characters()), max_size=6
)
STRINGS = st.builds(_spelled, st.one_of(st.just("model"), TEXTS), st.lists(st.booleans(), max_size=6)).map(
    lambda text: f'"{text}"'.encode("utf-8", "surrogatepass")
)
SCALARS = st.sampled_from(
    [b"0", b"-1.5e+3", b"true", b"false", b"null", b"01", b"1e", b"nul", b"1" * 13, b"-"]
)
MARKS = st.sampled_from([b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b" ", b"\n", b'"model":', b'"a":'])
PIECES = st.lists(st.one_of(MARKS, STRINGS, SCALARS, st.binary(max_size=3)), max_size=24).map(b"".join)
MEMBERS = st.lists(
    st.tuples(STRINGS, st.one_of(STRINGS, SCALARS, PIECES, st.sampled_from([b"[[]]", b'{"a":[{}]}']))),
    max_size=6,
).map(lambda members: b"{" + b",".join(key + b":" + value for key, value in members) + b"}")
BODIES = st.one_of(MEMBERS, PIECES, PIECES.map(lambda body: b"{" + body), st.binary())


@MANY
@given(BODIES, WINDOWS)
@example(b'{"\\', 1)
@example(b'{"a":"\\\\","model":"x"}', 1)
@example(b'{"model":"\\uD83D\\uDE00"}', 3)
@example(b'{"a":[1 ,"\\""],"model":"x"}', 2)
def test_agrees_with_extproc(body: bytes, window: int) -> None:
    """Any bytes are answered as extproc answers them, whatever the size of a window."""
    expected = extproc(body) if body else refusal(MISSING)
    assert play(body, window=window).answer == expected


@MANY
@given(BODIES, WINDOWS)
@example(b'{"model":"x","a":[[[', 65536)
@example(b'{"a":["","","","","","","","","",[[', 65536)
def test_agrees_with_extproc_at_the_limits(body: bytes, window: int) -> None:
    """Also where limits are met, one at a byte or several: both are given small ones."""
    with tight():
        expected = extproc(body) if body else refusal(MISSING)
    assert play(body, window=window, limits=TIGHT).answer == expected


@given(BODIES, st.integers(0, 80), st.integers(0, 3), st.binary(max_size=2), WINDOWS)
@MANY
def test_agrees_on_damaged_bodies(body: bytes, at: int, removed: int, inserted: bytes, window: int) -> None:
    """Also when bytes are lost or slipped in."""
    body = body[:at] + inserted + body[at + removed :]
    expected = extproc(body) if body else refusal(MISSING)
    assert play(body, window=window).answer == expected


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "identity,br", " x "])
def test_coded_bodies_are_refused_unread(encoding: str) -> None:
    """A content coding is 415, also where there is no body."""
    for body in (b'{"model":"x"}', None):
        assert play(body, headers={"content-encoding": encoding}).answer == refusal(ENCODED)


@pytest.mark.parametrize("encoding", ["", "identity", " , Identity,,"])
def test_no_coding(encoding: str) -> None:
    """`identity` and empty list members say nothing."""
    assert play(b'{"model":"x"}', headers={"content-encoding": encoding}).answer == "x"


def test_form_data() -> None:
    """It is left to ext_proc where there is one, else refused."""
    headers = {"content-type": "Multipart/form-data; boundary=x"}
    assert play(b"--x", leaves_forms=True, headers=headers) == Outcome(None, b"--x", "3", left=True)
    assert play(b"--x", headers=headers).answer == refusal(NO_MULTIPART)


def test_no_body() -> None:
    """No body and an empty one name no model."""
    assert play(None).answer == refusal(MISSING)
    assert play(b"").answer == refusal(MISSING)


def test_a_fault_of_ours_is_an_error() -> None:
    """Were the script to fail while it reads, the request would be refused, and not go on."""
    outcome = play(b'{"model":"x"}', window="nil")
    assert (outcome.answer, outcome.cleared) == (refusal(UNAVAILABLE), False)
