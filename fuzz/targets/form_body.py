"""Form data as extproc reads it: the content type in the first line, then the body; any chunking gives the same."""

import re

from igw_extproc.form_body import INVALID, MAX_HEADER_BYTES, FormBody
from igw_extproc.model_name import (
    MAX_NAME_BYTES,
    MAX_SPELLING_BYTES,
    ModelName,
    Refusal,
    judged,
    unknown_model,
)
from igw_model.openai import ApiError

from fuzz.chunks import chunkings

WATCHED = ("igw_extproc", "igw_model", "python_multipart")
MAX_BYTES = 4096
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_BOUNDARY = b"0123-fuzz"


def check(data: bytes) -> None:
    """Read a form; and one that holds the bytes as the model's name."""
    content_type, _, body = data.partition(b"\n")
    whole, *others = (_read(content_type.decode("latin-1"), chunks) for chunks in chunkings(body))
    assert all(other == whole for other in others), (whole, others)
    _judge(whole)
    if _BOUNDARY not in data:
        made = _read(f"multipart/form-data; boundary={_BOUNDARY.decode()}", [_form(data)])
        assert made == _expected(data), (made, _expected(data))


def _read(content_type: str, chunks: list[bytes]) -> ModelName | ApiError:
    try:
        form = FormBody(content_type)
        for chunk in chunks:
            form.feed(chunk)
            assert len(form._name) + len(form._value) + len(form._disposition) <= 2 * MAX_HEADER_BYTES
            assert len(form._text or b"") <= MAX_SPELLING_BYTES
        return form.end()
    except Refusal as refusal:
        return refusal.error


def _judge(read: ModelName | ApiError) -> None:
    if isinstance(read, ModelName):
        assert 1 <= len(read.text.encode()) <= MAX_NAME_BYTES
        assert not _CONTROL.search(read.text)
    else:
        assert 400 <= read.status < 500
        assert len(read.body()) < 2048


def _form(name: bytes) -> bytes:
    head = b'--%b\r\ncontent-disposition: form-data; name="model"\r\n\r\n' % _BOUNDARY
    return head + name + b"\r\n--%b--\r\n" % _BOUNDARY


def _expected(name: bytes) -> ModelName | ApiError:
    if len(name) > MAX_SPELLING_BYTES:
        return unknown_model("")
    try:
        return judged(name.decode())
    except UnicodeDecodeError:
        return INVALID
    except Refusal as refusal:
        return refusal.error
