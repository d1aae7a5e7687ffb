"""Reads the model off a `multipart/form-data` body as it comes: chunks in, a `ModelName` or a `Refusal` out. Pure.

The framing is read by python-multipart, as model servers in Python read it; what must not grow is bounded here.
Source: RFC 7578, and RFC 2046, 5.1.1. Any chunking gives the same answer.
"""

from typing import Final

from igw_model.openai import ApiError
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from igw_extproc.model_name import (
    DUPLICATE,
    MAX_SPELLING_BYTES,
    MISSING,
    TOO_COMPLEX,
    ModelName,
    Refusal,
    judged,
    unknown_model,
)

MAX_PARTS: Final = 1_024
MAX_HEADER_BYTES: Final = 16_384
"""Of one part's headers together, names and values."""
MAX_BOUNDARY_BYTES: Final = 70
INVALID: Final = ApiError(400, "invalid_multipart", "the request body is not valid multipart/form-data")


class FormBody:
    """One body: `feed` it as it comes, then `end` it. After a Refusal it is of no more use."""

    def __init__(self, content_type: str) -> None:
        """Begin before the first byte. Raises Refusal where the type names no boundary."""
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._content,
                "on_part_end": self._end_part,
                "on_end": self._end_body,
            },
            max_header_count=MAX_HEADER_BYTES,
            max_header_size=MAX_HEADER_BYTES,
        )
        self._begun = False
        self._whole = False
        self._parts = 0
        self._model: ModelName | None = None
        self._named = False
        self._begin_headers()

    def feed(self, data: bytes) -> None:
        """Read on. Raises Refusal at the first byte that breaks a rule."""
        if not self._begun:
            data = data.lstrip(b"\r\n")  # what the parser skips there depends on where a chunk ends
            self._begun = bool(data)
        try:
            self._parser.write(data)
        except MultipartParseError:
            raise Refusal(INVALID) from None

    def end(self) -> ModelName:
        """Give the model that the body names. Raises Refusal when it names none, or is not whole."""
        if not self._whole:
            raise Refusal(INVALID)
        if self._model is None:
            raise Refusal(MISSING)
        return self._model

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise Refusal(TOO_COMPLEX)
        self._begin_headers()

    def _begin_headers(self) -> None:
        self._header_bytes = 0
        self._name = self._value = self._disposition = b""
        self._text: bytes | None = None

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += self._of_header(data, start, end)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._of_header(data, start, end)

    def _of_header(self, data: bytes, start: int, end: int) -> bytes:
        self._header_bytes += end - start
        if self._header_bytes > MAX_HEADER_BYTES:
            raise Refusal(INVALID)
        return data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _end_headers(self) -> None:
        """See whether the part is the model; its content is held only then."""
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != b"model" or b"filename" in options:
            return
        if self._named:
            raise Refusal(DUPLICATE)
        self._named, self._text = True, b""

    def _content(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            return
        self._text += data[start : min(end, start + MAX_SPELLING_BYTES + 1)]
        if len(self._text) > MAX_SPELLING_BYTES:
            raise Refusal(unknown_model(""))

    def _end_part(self) -> None:
        if self._text is None:
            return
        try:
            name = self._text.decode()
        except UnicodeDecodeError:
            raise Refusal(INVALID) from None
        self._model = judged(name)

    def _end_body(self) -> None:
        self._whole = True


def _boundary(content_type: str) -> bytes:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= MAX_BOUNDARY_BYTES:
        raise Refusal(INVALID)
    return boundary
