"""The script that reads what an answer used, as it passes: in LuaJIT, between chunks as Envoy gives them."""

import gzip
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.scripts.answers import (
    EVENT_STREAM,
    JSON,
    LINE_ENDS,
    Event,
    Said,
    Script,
    chat_usage,
    chunk,
    cut,
    data,
    delta,
    events,
    expected,
)

SCRIPT = Script()
USED, TOLD = chat_usage(9, 3, 4)
ONE: Said = {"prompt_tokens": 1, "completion_tokens": 0, "cached_tokens": 0, "total_tokens": 1}
WORD = Event((data(chunk(delta(content="word"))),), content=True)
EXTRA = Event((data(chunk(usage=USED)),), extra=True, used=TOLD)
DONE = Event((b"data: [DONE]",))
USUAL = [WORD, WORD, EXTRA, DONE]

streams = st.lists(events, max_size=8)
line_ends = st.sampled_from(LINE_ENDS)
places = st.lists(st.integers(0, 3000), max_size=24)
everywhere = list(range(1, 3000))


def shown(stream: Sequence[Event], end: bytes) -> bytes:
    """Give what a client sees that did not ask for usage."""
    return b"".join(event.text(end) for event in stream if not event.extra)


def body(stream: Sequence[Event], end: bytes = b"\n") -> bytes:
    """Give a stream's bytes."""
    return b"".join(event.text(end) for event in stream)


@settings(max_examples=300, deadline=None)
@given(streams, line_ends, places)
@example(USUAL, b"\n", everywhere)
@example(USUAL, b"\r\n", everywhere)
@example(USUAL, b"\r", everywhere)
def test_untouched_and_counted_however_it_is_cut(stream: list[Event], end: bytes, at: list[int]) -> None:
    """Each chunk goes on at once as it came, and what is known in the end does not depend on the cuts."""
    chunks = cut(body(stream, end), at)
    passed = SCRIPT.play(chunks)
    assert (passed.chunks, passed.said) == (tuple(chunks), expected(stream))


@settings(max_examples=300, deadline=None)
@given(streams, line_ends, places)
@example(USUAL, b"\n", everywhere)
@example(USUAL, b"\r\n", everywhere)
@example(USUAL, b"\r", everywhere)
@example([EXTRA, EXTRA], b"\r\n", everywhere)
def test_the_extra_event_is_taken_out_however_it_is_cut(
    stream: list[Event], end: bytes, at: list[int]
) -> None:
    """All other bytes stay, in their order, and as much is known."""
    passed = SCRIPT.play(cut(body(stream, end), at), hide=True)
    assert (passed.body, passed.said) == (shown(stream, end), expected(stream))


@settings(max_examples=200, deadline=None)
@given(streams, line_ends, places)
def test_an_event_goes_on_when_it_is_whole(stream: list[Event], end: bytes, at: list[int]) -> None:
    """With its last byte, or the next LF of a CR LF, all of it has gone on."""
    chunks = cut(body(stream, end), at)
    passed = SCRIPT.play(chunks, hide=True)
    came, went = 0, 0
    for given_, gone in zip(chunks, passed.chunks, strict=True):
        came, went = came + len(given_), went + len(gone)
        whole = next(n for n in reversed(range(len(stream) + 1)) if len(body(stream[:n], end)) <= came)
        assert went >= len(shown(stream[:whole], end))


@settings(max_examples=200, deadline=None)
@given(stream=streams, end=line_ends, at=places, hide=st.booleans())
def test_a_stream_that_is_cut_leaves_what_was_seen(
    stream: list[Event], end: bytes, at: list[int], *, hide: bool
) -> None:
    """After every chunk as much is known as if all before had come at once; that it is whole, only at the end."""
    chunks = cut(body(stream, end), at)
    passed = SCRIPT.play(chunks, hide=hide, ending=b"cut")
    for number in range(len(chunks)):
        before = b"".join(chunks[: number + 1])
        at_once = SCRIPT.play([before], ending=b"cut").said
        assert passed.seen[number] == at_once
        assert "whole" not in at_once


@settings(max_examples=200, deadline=None)
@given(stream=streams, end=line_ends, at=places, hide=st.booleans())
def test_trailers_end_a_stream_as_well(stream: list[Event], end: bytes, at: list[int], *, hide: bool) -> None:
    """Nothing is lost but an event without its end, and such a one there is not here."""
    passed = SCRIPT.play(cut(body(stream, end), at), hide=hide, ending=b"trailers")
    assert (passed.body, passed.said) == (shown(stream, end) if hide else body(stream, end), expected(stream))


@pytest.mark.parametrize("end", LINE_ENDS, ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize(
    "last", [b"", b"data: [DONE]", b"data: [DONE]\n", b"data: {", WORD.lines[0]], ids=len
)
def test_a_last_event_without_its_end(last: bytes, end: bytes) -> None:
    """It goes on with the end of the answer; after trailers nothing more can, but `[DONE]` has gone on before."""
    whole = body([WORD, EXTRA], end)
    passed = SCRIPT.play([whole + last[:3], last[3:], b""], hide=True)
    assert (passed.body, passed.said["whole"]) == (WORD.text(end) + last, True)
    after = SCRIPT.play([whole + last[:3], last[3:]], hide=True, ending=b"trailers")
    assert after.body == WORD.text(end) + (b"" if b"{" in last else last)


def test_an_extra_event_without_its_end_is_taken_out() -> None:
    """A server may end its stream with one line end alone."""
    passed = SCRIPT.play([WORD.text(), *cut(EXTRA.text()[:-1], [50])], hide=True)
    assert (passed.body, passed.said) == (WORD.text(), expected([WORD, EXTRA]))


@settings(max_examples=30, deadline=None)
@given(more=st.integers(-3, 3), at=st.lists(st.integers(0, 210_000), max_size=6), has_extra=st.booleans())
def test_an_event_above_64_kib_goes_on(more: int, at: list[int], *, has_extra: bool) -> None:
    """It is judged by its first 64 KiB, held back no longer, and never taken out; tokens are read all the same."""
    empty = data(chunk(usage=USED, padding=""))
    padding = "p" * (65536 + more - len(empty) - 2)
    long = Event((data(chunk(usage=USED, padding=padding)),), extra=more <= 0, used=TOLD)
    word = Event((data(chunk(delta(content="w" * 65536))),), content=True)
    late = Event((data({"padding": "p" * 65536} | chunk(delta(content="w"))),))
    stream = [word, late, long, *([EXTRA] if has_extra else []), DONE]
    passed = SCRIPT.play(cut(body(stream), at), hide=True)
    assert (passed.body, passed.said) == (shown(stream, b"\n"), expected(stream))


def test_no_more_than_64_kib_are_held_back() -> None:
    """Of an event that does not end."""
    passed = SCRIPT.play([b'data: {"', *[b"x" * 8192] * 10], hide=True, ending=b"cut")
    came = went = 0
    for gone in passed.chunks:
        came, went = came + (8192 if came else 8), went + len(gone)
        assert came - went <= 65536
    assert went == came


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}, (2, 3, 0, 5)),
        ({"prompt_tokens": 2, "completion_tokens": 3}, (2, 3, 0, 5)),
        ({"prompt_tokens": 2, "total_tokens": 2}, (2, 0, 0, 2)),
        ({"prompt_tokens": 2}, (2, 0, 0, 2)),
        ({"total_tokens": 7}, (0, 0, 0, 7)),
        (
            {"prompt_tokens": 8, "prompt_tokens_details": {"cached_tokens": 6, "audio_tokens": 1}},
            (8, 0, 6, 8),
        ),
        ({"prompt_tokens": 8, "prompt_tokens_details": None}, (8, 0, 0, 8)),
        (
            {
                "input_tokens": 4,
                "input_tokens_details": {"cached_tokens": 1},
                "output_tokens": 5,
                "total_tokens": 9,
            },
            (4, 5, 1, 9),
        ),
        ({"prompt_tokens": 10**15}, None),
        ({"prompt_tokens": -1}, None),
        ({}, None),
        (None, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("indent", [None, 2], ids=["dense", "spaced"])
def test_what_an_answer_used(usage: Any, told: tuple[int, ...] | None, indent: int | None) -> None:
    """Of completions, embeddings and Responses, under the same keys, split at any byte."""
    answer = json.dumps({"data": ["x"], "usage": usage}, indent=indent).encode()
    names = ("prompt_tokens", "completion_tokens", "cached_tokens", "total_tokens")
    said = {"whole": True} | (dict(zip(names, told, strict=True)) if told else {})
    for at in range(len(answer)):
        passed = SCRIPT.play([answer[:at], answer[at:]], JSON)
        assert (passed.body, passed.said) == (answer, said)


LARGE = {"prompt_tokens": 5, "x": "x" * 5000}
"""More than 4 KiB: it is none."""
texts = st.one_of(
    st.sampled_from(["usage", '"usage":{', "}}", "{{", "[", "\\", '\\"', "\n"]), st.text(max_size=9)
)
counted = st.sampled_from([USED, {"prompt_tokens": 1}, {}, {"gpu": 1}, LARGE, None, [], "usage"])
anything = st.recursive(
    st.one_of(st.none(), st.integers(), texts, counted),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.just("usage"), texts), inner, max_size=4),
    ),
    max_leaves=25,
)
answers = st.dictionaries(
    st.one_of(st.sampled_from(["usage", "response", "tools"]), texts), anything, max_size=4
)


def told(usage: Any) -> Said:
    """Give what counts of an object; of those here some have their counts within, as a wrapper of them does."""
    passed = SCRIPT.play([json.dumps({"usage": usage}).encode()], JSON).said
    return {name: value for name, value in passed.items() if name != "whole"}


def of_event(event: dict[str, Any]) -> Said:
    """Give what an event used, by its objects: its own, else the last in an object of it."""
    own = [event["usage"]] if isinstance(event.get("usage"), dict) else []
    within = [
        one["usage"] for one in event.values() if isinstance(one, dict) and isinstance(one.get("usage"), dict)
    ]
    said: Said = {}
    for usage in own or within:
        said = told(usage) or said
    return said


@settings(max_examples=300, deadline=None)
@given(answers, st.booleans(), places)
@example({"usage": USED, "metadata": {"usage": {"total_tokens": 0}}}, True, [])
@example({"tools": [{"properties": {"usage": {"x": "{" * 40}}}], "usage": USED}, True, [])
@example({"a": {"usage": USED}, "usage": LARGE}, True, everywhere)
def test_an_answers_own_usage_counts(answer: dict[str, Any], dense: bool, at: list[int]) -> None:  # noqa: FBT001
    """And none that a client had given back, whatever is in it and however it is cut."""
    own = answer.get("usage")
    said = told(own) if isinstance(own, dict) else {}
    text = json.dumps(answer, indent=None if dense else 1).encode()
    assert SCRIPT.play(cut(text, at), JSON).said == {"whole": True} | said


@settings(max_examples=300, deadline=None)
@given(st.lists(answers, max_size=4), line_ends, places)
@example([{"response": {"metadata": {"usage": {"total_tokens": 0}}, "usage": USED}}], b"\n", [])
@example([{"response": {"usage": USED, "metadata": {"usage": {"total_tokens": 10**9}}}}], b"\n", everywhere)
@example([{"response": {"tools": [{"usage": {"x": "{" * 40}}], "usage": USED}}], b"\n", [])
@example([{"usage": USED, "x": {"usage": {"total_tokens": 0}}}, {}], b"\r", everywhere)
def test_an_events_own_usage_counts(stream: list[dict[str, Any]], end: bytes, at: list[int]) -> None:
    """Its object's, or that of an object directly in it; the last event that has one."""
    text = b"".join(data(event) + end + end for event in stream)
    said: Said = {}
    for event in stream:
        said |= of_event(event)
    seen = SCRIPT.play(cut(text, at)).said
    assert {name: value for name, value in seen.items() if name != "events"} == {
        "streamed": True,
        "whole": True,
        **said,
    }


@pytest.mark.parametrize(
    "text",
    [
        b'{"usage":' * 100_000,
        b'{"x":{"usage":{}},"y":[' + b'{"usage":' * 50_000 + b"1" + b"}" * 50_000 + b"]}",
        b'{"usage":{"x":"' + b"{" * 900_000,
        b'{"usage"' + b" " * 900_000,
    ],
    ids=["unclosed", "nested", "text", "gap"],
)
def test_what_a_client_has_given_back_costs_what_its_length_does(text: bytes) -> None:
    """A megabyte takes 30 ms; it took a second, for each object was read again with all that it is in."""
    began = time.process_time()
    SCRIPT.play([text[at : at + 16_384] for at in range(0, len(text), 16_384)], JSON)
    assert time.process_time() - began < 0.4


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (EVENT_STREAM | {"content-encoding": "gzip"}, {"streamed": True, "whole": True}),
        (JSON | {"content-encoding": "gzip"}, {"whole": True}),
        ({"content-type": "audio/mpeg"}, {"whole": True}),
        (JSON | {"content-encoding": "identity"}, {"whole": True} | TOLD),
        ({}, {"whole": True} | TOLD),
        ({"content-type": "Text/Event-Stream"}, expected([EXTRA])),
    ],
    ids=str,
)
def test_what_is_looked_into(headers: dict[str, str], said: Said) -> None:
    """JSON, what does not say what it is, and event streams; nothing that is compressed."""
    assert SCRIPT.play([EXTRA.text()], headers).said == said


def test_compressed_streams_pass_as_they_are() -> None:
    """Where a server compresses though it was not asked to, nothing is taken out."""
    packed = gzip.compress(EXTRA.text(), mtime=0)
    headers = EVENT_STREAM | {"content-encoding": "gzip"}
    assert SCRIPT.play([packed[:9], packed[9:]], headers, hide=True).body == packed


@pytest.mark.parametrize("hide", [False, True])
def test_a_stream_that_may_become_shorter_has_no_length(*, hide: bool) -> None:
    """Most have none; one that had would be cut."""
    headers = EVENT_STREAM | {"content-length": str(len(EXTRA.text()))}
    assert ("content-length" in SCRIPT.play([EXTRA.text()], headers, hide=hide).headers) is not hide


def test_a_json_answer_to_a_request_that_hides_passes_as_it_is() -> None:
    """A refusal, for one."""
    assert SCRIPT.play([EXTRA.text()], JSON, hide=True).body == EXTRA.text()


@pytest.mark.parametrize("headers", [EVENT_STREAM, JSON], ids=["stream", "json"])
@pytest.mark.parametrize("ending", [b"data", b"trailers"])
def test_an_answer_without_a_body(headers: dict[str, str], ending: bytes) -> None:
    """It is whole; nothing is asked of a chunk that never came."""
    assert SCRIPT.play([b""], headers, hide=True, ending=ending).said["whole"] is True
