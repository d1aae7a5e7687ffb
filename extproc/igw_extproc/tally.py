"""Exchanges by outcome."""

from igw_ops import tally

ROUTED = "routed"
"""A model was found."""
ABANDONED = "abandoned"
"""The client or Envoy went away before the last answer."""
FAILED = "failed"
"""Envoy's messages came in an order that its filter's configuration does not give."""


class Tally(tally.Tally):
    """Counts outcomes: `routed`, `abandoned`, `failed`, or the code of a refusal."""

    def __init__(self) -> None:
        """Begin at nothing."""
        text = "HTTP exchanges by outcome: routed, or the code of the refusal."
        super().__init__("igw_extproc_exchanges", text, ["outcome"])

    def outcomes(self) -> dict[str, int]:
        """Give the exchanges so far by outcome."""
        return {outcome: number for (outcome,), number in self.counts().items()}
