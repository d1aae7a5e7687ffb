"""An Envoy's admin interface, as far as draining needs it. Every call raises httpx.HTTPError when it fails."""

from typing import Self

import httpx

from igw_cli.drain import Activity

TIMEOUT_SECONDS = 2.0
_COUNTED = ("downstream_cx_total", "downstream_rq_active", "downstream_cx_tx_bytes_buffered")
"""In the order of Activity."""
_FILTER = rf"^http\.ingress\.({'|'.join(_COUNTED)})$"


class Admin:
    """The admin interface at a URL; an async context manager."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send_away(self) -> None:
        """Let ``/ready`` say no, and every answer ask its client to go: ``Connection: close``, GOAWAY.

        Of Envoy's ways to drain it is the one that does so at once; `/drain_listeners?graceful` begins with few
        and closes the listeners after a time of its own.
        """
        await self._post("/healthcheck/fail")

    async def stop_listening(self) -> None:
        """Close every listener, the one for metrics and probes too; connections stay."""
        await self._post("/drain_listeners")

    async def activity(self) -> Activity:
        """Give what clients have going on at the listener for them, and nowhere else."""
        answer = await self._client.get("/stats", params={"filter": _FILTER})
        answer.raise_for_status()
        return activity(answer.text)

    async def _post(self, path: str) -> None:
        (await self._client.post(path)).raise_for_status()


def activity(stats: str) -> Activity:
    """Read ``name: value`` lines; what no request has touched yet is not there, and 0."""
    found = dict(line.split(": ", 1) for line in stats.splitlines() if ": " in line)
    return Activity(*(int(found.get(f"http.ingress.{name}", 0)) for name in _COUNTED))
