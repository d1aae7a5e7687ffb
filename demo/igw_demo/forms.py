"""Requests that are forms with files: sound to write down, pictures to change. What a form says in, documents out.

Source: RFC 7578; OpenAI API reference, "Create transcription", "Create image edit".
"""

import base64
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from igw_model.openai import ApiError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from igw_demo.client import Refused
from igw_demo.question import token_count
from igw_demo.usage import Document, Usage

MAX_FILES = 16
MAX_FIELDS = 64
BYTES_A_TOKEN = 100
"""Of a file."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form: its name and its content."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """A form: its texts, and its files, both by name; of a name that came twice the last."""

    texts: Mapping[str, str]
    files: Mapping[str, File]

    @property
    def model(self) -> str:
        """Give the model that it asks for."""
        return self.texts.get("model", "")

    def file(self, name: str) -> File:
        """Give a file, also where it is one of several; raises Refused (400)."""
        found = self.files.get(name) or self.files.get(f"{name}[]")
        if found is None:
            raise Refused(ApiError(400, "invalid_request", f"The form has no file {name!r}."))
        return found


async def form(body: bytes, headers: list[tuple[bytes, bytes]]) -> Form:
    """Read a form; raises Refused (400)."""
    try:
        parsed = await MultiPartParser(
            Headers(raw=headers), _once(body), max_files=MAX_FILES, max_fields=MAX_FIELDS
        ).parse()
    except (MultiPartException, KeyError) as error:  # a KeyError is a content type without a boundary
        raise Refused(ApiError(400, "invalid_request", f"The form can't be read: {error}")) from None
    texts, files = {}, {}
    for name, value in parsed.multi_items():
        if isinstance(value, UploadFile):
            files[name] = File(value.filename or "", await value.read())
        else:
            texts[name] = value
    await parsed.close()
    return Form(texts, files)


def transcription(asked: Form) -> tuple[Document, Usage]:
    """Give what was said in the file, which is always the same, and its tokens."""
    sound = asked.file("file")
    text = f"I heard {len(sound.content)} bytes of {sound.name}."
    heard = _tokens(sound)
    usage = Usage(heard, token_count(text))
    details = {"text_tokens": 0, "audio_tokens": heard}
    return {
        "text": text,
        "usage": {"type": "tokens", **usage.input_document(input_token_details=details)},
    }, usage


def edit(asked: Form, created: int) -> tuple[Document, Usage]:
    """Give the picture back as it came, and its tokens."""
    picture = asked.file("image")
    text, seen = token_count(asked.texts.get("prompt", "")), _tokens(picture)
    usage = Usage(text + seen, seen)
    details = {"text_tokens": text, "image_tokens": seen}
    data = [{"b64_json": base64.b64encode(picture.content).decode()}]
    return {
        "created": created,
        "data": data,
        "usage": usage.input_document(input_tokens_details=details),
    }, usage


def _tokens(file: File) -> int:
    return 1 + len(file.content) // BYTES_A_TOKEN


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
    yield b""
