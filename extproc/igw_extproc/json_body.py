"""Reads the model off a JSON body as it comes: chunks in, a `ModelName` or a `Refusal` out. Pure.

A table says what may stand at each place of the top level; what is nested is skipped from mark to mark. Nothing is
held but one key or name, and the brackets that are open. Any chunking gives the same answer.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from igw_extproc.model_name import (
    DUPLICATE,
    INVALID_JSON,
    INVALID_TYPE,
    MAX_SPELLING_BYTES,
    MISSING,
    TOO_COMPLEX,
    ModelName,
    Refusal,
    judged,
    spoken,
    unknown_model,
)

MAX_KEY_BYTES: Final = 256
"""As spelled; a longer key is not `model`, and not looked at."""
MAX_MARKS: Final = 262_144
"""Strings and brackets of one body."""
MAX_MEMBERS: Final = 1024
MAX_ESCAPED_QUOTES: Final = 1_048_576
MAX_LEVELS: Final = 512

_QUOTE, _BACKSLASH, _OPEN, _CLOSE, _LIST = b'"\\{}['
_OPENING: Final = (_OPEN, _LIST)
_FIRST_WINDOW: Final = 512
_TO_CLOSING: Final = 2
"""From an opening bracket to the closing one of its kind, in ASCII."""
_NOT_SPACE = re.compile(rb"[^ \t\n\r]")
_MARK = re.compile(rb'["{}\[\]]')
_ENDING = re.compile(rb'"(?<!(?<!\\)\\")')
"""A quote that is not behind a single backslash: it ends its string, unless backslashes before it say otherwise."""
_PLAIN_KEY = re.compile(rb'"([ !#-\[\]-~]{0,256}+)"[ \t\n\r]*+:')
"""A key that says what it spells, and the colon; for most keys one step in place of many."""
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]*+")
_VALUE = re.compile(rb"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")

Step = Callable[["JsonBody", bytes, int], int]
"""Reads on from an index, and gives the index that it got to: more than before, or a token's first byte again."""


def _place(may_stand: Mapping[int, Step]) -> Step:
    """Give the step that skips whitespace and takes the byte behind it for what it may be there."""

    def step(body: "JsonBody", data: bytes, at: int) -> int:
        take = may_stand.get(data[at])
        if take is None:
            found = _NOT_SPACE.search(data, at)
            if found is None:
                return len(data)
            at = found.start()
            take = may_stand.get(data[at])
            if take is None:
                raise Refusal(INVALID_JSON)
        return take(body, data, at)

    return step


class JsonBody:
    """One body: `feed` it as it comes, then `end` it. After a Refusal it is of no more use."""

    def __init__(self) -> None:
        """Begin before the first byte."""
        self._step: Step = JsonBody._START
        self._model: ModelName | None = None
        self._named = False
        self._is_model = False
        self._marks = 0
        self._members = 0
        self._quotes = 0
        self._open = bytearray()
        self._held = b""
        self._escaped = False

    def feed(self, data: bytes) -> None:
        """Read on. Raises Refusal at the first byte that breaks a rule."""
        at, end = 0, len(data)
        while at < end:
            at = self._step(self, data, at)

    def end(self) -> ModelName:
        """Give the model that the body names. Raises Refusal when it names none, or is not whole."""
        if self._step is not JsonBody._AFTER:
            raise Refusal(INVALID_JSON)
        if self._model is None:
            raise Refusal(MISSING)
        return self._model

    def _count(self) -> None:
        self._marks += 1
        if self._marks > MAX_MARKS:
            raise Refusal(TOO_COMPLEX)

    def _count_quotes(self, escaped: int) -> None:
        self._quotes += escaped
        if self._quotes > MAX_ESCAPED_QUOTES:
            raise Refusal(TOO_COMPLEX)

    def _open_top(self, _: bytes, at: int) -> int:
        self._count()
        self._step = JsonBody._FIRST_KEY
        return at + 1

    def _close_top(self, _: bytes, at: int) -> int:
        self._count()
        self._step = JsonBody._AFTER
        return at + 1

    def _pass_comma(self, _: bytes, at: int) -> int:
        self._step = JsonBody._KEY
        return at + 1

    def _pass_colon(self, _: bytes, at: int) -> int:
        self._step = JsonBody._ANY_VALUE
        return at + 1

    def _begin_key(self, data: bytes, at: int) -> int:
        found = _PLAIN_KEY.match(data, at)
        if found is not None:
            self._take_key(found[1] == b"model")
            self._step = JsonBody._ANY_VALUE
            return found.end()
        self._step = JsonBody._key
        return self._key(data, at + 1)

    def _begin_string(self, data: bytes, at: int) -> int:
        self._step = JsonBody._name if self._is_model else JsonBody._string
        return self._step(self, data, at + 1)

    def _begin_nested(self, data: bytes, at: int) -> int:
        self._count()
        if self._is_model:
            raise Refusal(INVALID_TYPE)
        self._open.append(data[at] + _TO_CLOSING)
        self._step = JsonBody._nested
        return at + 1

    def _begin_scalar(self, data: bytes, at: int) -> int:
        self._step = JsonBody._scalar
        return self._scalar(data, at)

    def _key(self, data: bytes, at: int) -> int:
        """Read a key up to its quote, and see whether it is `model`."""
        quote = self._quote(data, at)
        spelling = self._spelling(data, at, quote, MAX_KEY_BYTES)
        if quote < 0:
            return len(data)
        self._take_key(len(spelling) <= MAX_KEY_BYTES and spoken(spelling) == "model")
        self._step = JsonBody._COLON
        return quote + 1

    def _take_key(self, is_model: bool) -> None:  # noqa: FBT001 - of the key
        self._count()
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise Refusal(TOO_COMPLEX)
        self._is_model = is_model
        if is_model and self._named:
            raise Refusal(DUPLICATE)
        self._named = self._named or is_model

    def _name(self, data: bytes, at: int) -> int:
        """Read the value of `model` up to its quote, and judge it."""
        quote = self._quote(data, at)
        spelling = self._spelling(data, at, quote, MAX_SPELLING_BYTES)
        if len(spelling) > MAX_SPELLING_BYTES:
            raise Refusal(unknown_model(""))
        if quote < 0:
            return len(data)
        text = spoken(spelling)
        self._count()
        self._model = judged(text)
        self._step = JsonBody._COMMA
        return quote + 1

    def _string(self, data: bytes, at: int) -> int:
        """Skip a string of the top level, or the rest of a nested one that did not end in its chunk."""
        quote = self._quote(data, at)
        if quote < 0:
            return len(data)
        self._count()
        self._step = JsonBody._nested if self._open else JsonBody._COMMA
        return quote + 1

    def _nested(self, data: bytes, at: int) -> int:
        """Skip to the end of a nested object or array, or of the chunk. The hot loop: no calls for what is common."""
        opened, marks = self._open, self._marks
        while (found := _MARK.search(data, at)) is not None:
            at = found.end()
            mark = data[at - 1]
            if mark == _QUOTE:
                quote = data.find(b'"', at)
                if quote < 0 or data[quote - 1] == _BACKSLASH:
                    quote = self._quote(data, at)
                if quote < 0:
                    self._marks, self._step = marks, JsonBody._string
                    return len(data)
                at = quote + 1
            elif mark in _OPENING:
                opened.append(mark + _TO_CLOSING)
                if len(opened) >= MAX_LEVELS:
                    raise Refusal(INVALID_JSON)
            elif opened.pop() != mark:
                raise Refusal(INVALID_JSON)
            marks += 1
            if marks > MAX_MARKS:
                raise Refusal(TOO_COMPLEX)
            if not opened:
                self._marks, self._step = marks, JsonBody._COMMA
                return at
        self._marks = marks
        return len(data)

    def _scalar(self, data: bytes, at: int) -> int:
        """Read a number, true, false or null up to what cannot belong to it, and check it."""
        found = _SCALAR.match(data, at)
        end = found.end() if found else at
        self._held += data[at : min(end, at + MAX_SPELLING_BYTES + 1)]
        if len(self._held) > MAX_SPELLING_BYTES:
            raise Refusal(INVALID_JSON)
        if end == len(data):
            return end
        text, self._held = self._held, b""
        if _VALUE.fullmatch(text) is None:
            raise Refusal(INVALID_JSON)
        if self._is_model:
            raise Refusal(MISSING if text == b"null" else INVALID_TYPE)
        self._step = JsonBody._COMMA
        return end

    def _quote(self, data: bytes, at: int) -> int:
        """Give the index of the quote that ends the string whose content goes on at `at`, -1 if it is not here."""
        if self._escaped:
            return self._unescaped_quote(data, at)
        found = _ENDING.search(data, at)
        quote = found.start() if found else -1
        if quote > at and data[quote - 1] == _BACKSLASH:
            return self._unescaped_quote(data, at)
        self._count_quotes(data.count(b'"', at, len(data) if quote < 0 else quote))
        if quote < 0 and data[-1] == _BACKSLASH:
            self._escaped = (len(data) - len(data.rstrip(b"\\"))) % 2 == 1
        return quote

    def _unescaped_quote(self, data: bytes, at: int) -> int:
        """Do the same where backslashes stand in rows: what they escape is blotted out, in windows that grow."""
        size = _FIRST_WINDOW
        while at < len(data):
            if self._escaped:
                self._count_quotes(data[at] == _QUOTE)
                at, self._escaped = at + 1, False
            piece = data[at : at + size]
            window = piece.replace(b"\\\\", b"__").replace(b'\\"', b"__")
            quote = window.find(b'"')
            self._count_quotes(piece.count(b'"', 0, len(piece) if quote < 0 else quote))
            if quote >= 0:
                return at + quote
            self._escaped = window.endswith(b"\\")
            at, size = at + len(window), 4 * size
        return -1

    def _spelling(self, data: bytes, at: int, quote: int, most: int) -> bytes:
        """Give what the string spells so far, cut behind `most` bytes; what is not whole is held."""
        end = len(data) if quote < 0 else quote
        spelling = self._held + data[at : min(end, at + most + 1 - len(self._held))]
        self._held = spelling if quote < 0 else b""
        return spelling

    # What may stand at each place of the top level.
    _START = _place({_OPEN: _open_top})
    _FIRST_KEY = _place({_QUOTE: _begin_key, _CLOSE: _close_top})
    _KEY = _place({_QUOTE: _begin_key})
    _COLON = _place({ord(":"): _pass_colon})
    _ANY_VALUE = _place(
        {
            _QUOTE: _begin_string,
            _OPEN: _begin_nested,
            _LIST: _begin_nested,
            **dict.fromkeys(b"-0123456789tfn", _begin_scalar),
        }
    )
    _COMMA = _place({ord(","): _pass_comma, _CLOSE: _close_top})
    _AFTER = _place({})
