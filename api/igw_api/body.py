"""A request's body in, its JSON object out, or RefusedError. Pure.

Stricter than `json.loads`: UTF-8 alone, no key twice, no NaN or Infinity; what nests too deeply is refused, not run.
"""

import json
from collections import Counter
from typing import Any, NoReturn

from igw_api.failure import Code, RefusedError


def json_object(body: bytes) -> dict[str, Any]:
    """Read a body that must be one JSON object."""
    try:
        document = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError:
        raise _refused("the body is not UTF-8") from None
    except RecursionError:
        raise _refused("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _refused(f"the body is not JSON: line {error.lineno}, column {error.colno}") from None
    except ValueError as error:  # what the hooks raise, and numbers of thousands of digits
        raise _refused(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _refused("the body must be a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) == len(pairs):
        return document
    counts = Counter(key for key, _ in pairs)
    twice = next(key for key, count in counts.items() if count > 1)
    raise ValueError(f"the key {twice!a} is written twice")


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _refused(message: str) -> RefusedError:
    return RefusedError(Code.INVALID_ARGUMENT, message)
