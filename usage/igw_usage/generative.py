"""Records in; OpenTelemetry's metrics for generative AI out, with few labels whatever clients ask for.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics, names, labels and buckets.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from igw_usage.histograms import OTHER, Histograms, Instrument
from igw_usage.record import Record

PROVIDER: Final = "igw"
"""A value of our own: a gateway cannot know whose model servers it has."""
MAX_MODELS: Final = 200
OTHER_ERROR: Final = "_OTHER"
"""What the conventions say for an error that is none of the few that are told apart."""

_ERRORS: Final = frozenset({400, 401, 403, 404, 408, 413, 422, 429, 499, 500, 502, 503, 504})
_COMMON: Final = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
TOKENS: Final = Instrument(
    "gen_ai.client.token.usage",
    "{token}",
    "Tokens that responses used, by type.",
    (*_COMMON, "gen_ai.token.type"),
    tuple(4**power for power in range(14)),
)
DURATION: Final = Instrument(
    "gen_ai.server.request.duration",
    "s",
    "From a request's first byte to the last of its answer.",
    (*_COMMON, "error.type"),
    tuple(round(0.01 * 2**power, 2) for power in range(14)),
)
FIRST_TOKEN: Final = Instrument(
    "gen_ai.server.time_to_first_token",
    "s",
    "From a whole request to the first byte of its answer, of streams that did not fail.",
    _COMMON,
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)


class Generative(Collector):
    """The metrics so far; only of requests that reached a model server, as the others name what clients made up."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._models: set[str] = set()
        self._tokens = Histograms(TOKENS)
        self._duration = Histograms(DURATION)
        self._first_token = Histograms(FIRST_TOKEN)

    def observe(self, record: Record) -> None:
        """Add a request."""
        if not (record.deployment and record.model):
            return
        common = (record.operation, PROVIDER, self._model(record.model))
        for kind, tokens in (("input", record.prompt_tokens), ("output", record.completion_tokens)):
            if tokens is not None:
                self._tokens.observe((*common, kind), tokens)
        self._duration.observe((*common, _error(record)), record.seconds)
        if record.streamed and not record.failed and record.first_byte_seconds is not None:
            self._first_token.observe(common, record.first_byte_seconds)

    def collect(self) -> Iterator[Metric]:
        """Give all to Prometheus."""
        for histograms in self._all():
            yield from histograms.collect()

    def otlp(self, began: int, now: int) -> Sequence[Mapping[str, Any]]:
        """Give all in OTLP's JSON; times in nanoseconds since 1970."""
        return [histograms.otlp(began, now) for histograms in self._all()]

    def _all(self) -> tuple[Histograms, ...]:
        return (self._tokens, self._duration, self._first_token)

    def _model(self, name: str) -> str:
        if name not in self._models:
            if len(self._models) >= MAX_MODELS:
                return OTHER
            self._models.add(name)
        return name


def _error(record: Record) -> str:
    if not record.failed:
        return ""
    return str(record.status) if record.status in _ERRORS else OTHER_ERROR
