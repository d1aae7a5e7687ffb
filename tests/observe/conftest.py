"""One gateway under traffic, and a Prometheus that scrapes it as in the Compose stack."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from igw_xds.stats_listener import SHOWN

from tests.observe.stack import refusing_proxy, traffic
from tests.observe.tools import Prometheus, prometheus, tool
from tests.real_envoy.running import Running, eventually, igw_up

SERVICES = {"control-plane": "xds", "extauth": "extauth", "extproc": "extproc", "collector": "collector"}
"""Prometheus' job to the child process."""


@dataclass(frozen=True)
class Observed:
    """The gateway and the Prometheus that watches it."""

    gateway: Running
    prometheus: Prometheus

    def metrics(self, job: str) -> str:
        """Give what one of our processes tells Prometheus."""
        return httpx.get(f"http://{_ops(self.gateway, job)}/metrics").text


@pytest.fixture(scope="package")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """Everything running and busy; tests only look."""
    tool("prometheus")
    folder: Path = tmp_path_factory.mktemp("observed")
    with (
        igw_up(folder / "up", "--demo") as gateway,
        prometheus(folder, _targets(gateway)) as watching,
        refusing_proxy(int(gateway.option("xds", "--port"))),
    ):
        eventually(lambda: len(watching.ask("up == 1")) == len(SERVICES) + 2, 20)
        with traffic(gateway):
            yield Observed(gateway, watching)


def _targets(gateway: Running) -> dict[str, dict[str, Any]]:
    """Give where the jobs' targets are here; Envoy is asked what its listener for metrics asks its admin interface."""
    ours = {job: {"static_configs": [{"targets": [_ops(gateway, job)]}]} for job in SERVICES}
    asked = urlsplit(SHOWN["/metrics"])
    admin = {
        "metrics_path": asked.path,
        "params": parse_qs(asked.query, keep_blank_values=True),
        "static_configs": [{"targets": [urlsplit(gateway.ready["envoyAdmin"]).netloc]}],
    }
    return {**ours, "envoy": admin}


def _ops(gateway: Running, job: str) -> str:
    return f"127.0.0.1:{gateway.option(SERVICES[job], '--ops-port')}"
