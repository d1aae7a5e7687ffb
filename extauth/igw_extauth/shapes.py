"""What tokens look like, so that no authority is asked for what cannot be one of its own. Pure.

Source: docs/inference-api.md, section 5.
"""

import re

from igw_model.policy import Provider

from igw_extauth.secret import BearerToken

_SHAPES = {
    Provider.COREWEAVE: re.compile(r"CW-SECRET-[\x21-\x7e]{1,1014}"),
    Provider.WANDB: re.compile(r"[\w-]{40,512}", re.ASCII),
}


def may_be(provider: Provider, token: BearerToken) -> bool:
    """Say whether a token may be one of a provider's."""
    return _SHAPES[provider].fullmatch(token.reveal()) is not None
