"""What a model's name may be, and what is answered where a body names none. Pure.

The rules are those of docs/body-routing.md; Envoy's own script (`igw_xds/resources/scripts`) answers in the same words.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from igw_model.openai import MISSING_MODEL, ApiError

MAX_NAME_BYTES: Final = 256
"""No deployment's name is longer, in UTF-8."""
MAX_SPELLING_BYTES: Final = 1_536
"""Of a name as a body spells it: six bytes for each of the name's."""

_ECHOED_CHARACTERS = 64
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

MISSING: Final = MISSING_MODEL
INVALID_JSON: Final = ApiError(400, "invalid_json", "the request body is not a JSON object")
INVALID_TYPE: Final = ApiError(400, "invalid_type", "the model parameter must be a string", "model")
DUPLICATE: Final = ApiError(400, "duplicate_model", "the model parameter is given more than once", "model")

TOO_COMPLEX: Final = ApiError(
    400, "body_too_complex", "the request body has too many strings, objects and arrays"
)


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name that can be a header's value: 1 to 256 bytes of UTF-8, no controls, no space at its ends."""

    text: str


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """A body broke a rule: the error to answer with."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.code)
        self.error = error


def judged(name: str) -> ModelName:
    """Give the name as one that a header can hold, or raise the Refusal of it."""
    if not name:
        raise Refusal(MISSING)
    if len(name.encode()) > MAX_NAME_BYTES or _CONTROL.search(name) or name != name.strip(" "):
        raise Refusal(unknown_model(name))
    return ModelName(name)


def unknown_model(name: str) -> ApiError:
    """Give OpenAI's 404 for a model that does not exist; what is echoed is short and printable."""
    shown = name[:_ECHOED_CHARACTERS].encode("unicode_escape").decode("ascii")
    dots = "..." if len(name) > _ECHOED_CHARACTERS else ""
    return ApiError(404, "model_not_found", f"The model `{shown}{dots}` does not exist", "model")


@lru_cache(maxsize=1024)
def spoken(spelling: bytes) -> str:
    """Give what a JSON string says that is spelled so between its quotes. Raises Refusal where JSON forbids it."""
    try:
        text: str = json.loads(f'"{spelling.decode()}"')
        text.encode()  # a surrogate without its other half is no Unicode
    except ValueError:
        raise Refusal(INVALID_JSON) from None
    return text
