"""Sends metrics by OTLP over HTTP, in its JSON encoding, each minute; a failure is counted and hurts nothing.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp. JSON needs no package of OTLP's.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx
import structlog

from igw_usage.histograms import attribute

EVERY_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 5.0
PATH: Final = "/v1/metrics"

Points = Callable[[int, int], Sequence[Mapping[str, Any]]]
"""Gives metrics of all that was seen since a time and up to another, both in nanoseconds since 1970."""


class Pusher:
    """Sends the metrics of one process."""

    def __init__(self, endpoint: str, instance: str, points: Points, told: Callable[[str], None]) -> None:
        """Take the endpoint, a name of this process that no other has, and who hears `sent` or `failed`."""
        self._url = endpoint.rstrip("/") + PATH
        self._instance = instance
        self._points = points
        self._told = told
        self._began = time.time_ns()
        self._failing = False
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(ANSWER_SECONDS), follow_redirects=False)

    async def run(self, every_seconds: float = EVERY_SECONDS) -> None:
        """Send for ever; to be cancelled."""
        while True:
            await asyncio.sleep(every_seconds)
            await self.push()

    async def push(self) -> None:
        """Send once."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):  # of all of it: httpx counts each part for itself
                sent = await self._client.post(self._url, json=self._document())
            reason = "" if sent.is_success else f"status {sent.status_code}"
        except Exception as error:  # noqa: BLE001 - metrics are not what this process is for
            reason = type(error).__name__
        self._told("failed" if reason else "sent")
        if reason and not self._failing:
            structlog.get_logger("igw_usage").warning("otlp_metrics_unavailable", reason=reason)
        self._failing = bool(reason)

    async def aclose(self) -> None:
        """Send what there is once more, and close the connections."""
        await self.push()
        await self._client.aclose()

    def _document(self) -> Mapping[str, Any]:
        metrics = self._points(self._began, time.time_ns())
        who = (("service.name", "igw-collector"), ("service.instance.id", self._instance))
        scope = {"scope": {"name": "igw_usage"}, "metrics": metrics}
        resource = {"attributes": [attribute(name, value) for name, value in who]}
        return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}
