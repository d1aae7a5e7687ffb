"""The bearer token that a caller presents: the values of ``Authorization`` in, the token's text out, or None. Pure.

Source: RFC 6750, section 2.1. Who calls it keeps the text to itself.
"""

import re
from collections.abc import Sequence

MAX_TOKEN_LENGTH = 4096
"""Characters; longer ones are not read. The authorities' own keys are far shorter."""

_CREDENTIALS = re.compile(rf"(?i:bearer) +([A-Za-z0-9._~+/-]{{1,{MAX_TOKEN_LENGTH}}}=?=?)", re.ASCII)


def token_text(authorization: Sequence[str]) -> str | None:
    """Read the token of the one header.

    None for no header, another scheme, an empty or over-long token, and for characters outside ``b64token``.
    Two headers, or two credentials joined by a comma, give None too: which one is read behind us is unknown.
    """
    if len(authorization) != 1:
        return None
    credentials = _CREDENTIALS.fullmatch(authorization[0].strip(" \t"))
    return None if credentials is None else credentials[1]
