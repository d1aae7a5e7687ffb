"""Weights in, percentages out. Pure.

Source: docs/inference-api.md, section 4: normalised over the gateway's deployments of a model; a lone one gets
everything; all zero share equally; a disabled one gets nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from igw_cli.client import Exit, FailedError

MAX_WEIGHT = 1000


def shares(specs: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Give each deployment's percentage of the traffic of one model on one gateway, by id."""
    weights = {spec["id"]: (weight_of(spec), bool(spec.get("disabled"))) for spec in specs}
    enabled = {key: weight for key, (weight, disabled) in weights.items() if not disabled}
    total = sum(enabled.values())
    if not total:
        enabled = dict.fromkeys(enabled, 1)
        total = len(enabled)
    return {key: 100 * enabled.get(key, 0) / total if total else 0.0 for key in weights}


def weight_of(spec: Mapping[str, Any]) -> int:
    """Give a deployment's weight."""
    return int(spec.get("traffic", {}).get("weight", 0))


def weights_of(words: Iterable[str]) -> dict[str, int]:
    """Read ``name=weight`` words. Raises FailedError."""
    weights: dict[str, int] = {}
    for word in words:
        name, _, number = word.rpartition("=")
        if not name or not (number.isascii() and number.isdigit()) or int(number) > MAX_WEIGHT:
            raise FailedError(f"{word!r} is not NAME=WEIGHT with a weight of 0 to {MAX_WEIGHT}", Exit.INVALID)
        if name in weights:
            raise FailedError(f"{name} is named twice", Exit.INVALID)
        weights[name] = int(number)
    return weights
