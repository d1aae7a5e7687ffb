"""Prometheus itself, for tests: Debian's package `prometheus` brings it and promtool. Without it tests are skipped.

In CI (where the environment says so) a missing tool is a failure: a skipped test proves nothing there.
"""

import contextlib
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.ports import free_port
from tests.real_envoy.running import eventually

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose"


def tool(name: str) -> str:
    """Give the path of a program of the package `prometheus`."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{name} is missing: apt-get install prometheus")
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install prometheus")
    return found


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that scrapes."""

    url: str

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """Give the samples of an expression as they are now: labels under `metric`, the number under `value`."""
        answer = httpx.post(f"{self.url}/api/v1/query", data={"query": expression}, timeout=10).json()
        assert answer["status"] == "success", (expression, answer)
        return [{**found, "value": float(found["value"][1])} for found in answer["data"]["result"]]

    def has(self, expression: str) -> bool:
        """Tell whether an expression gives a number that is one."""
        return not all(math.isnan(found["value"]) for found in self.ask(expression))


@contextlib.contextmanager
def prometheus(folder: Path, targets: Mapping[str, Mapping[str, Any]]) -> Iterator[Prometheus]:
    """Run a Prometheus with our own configuration, but for where the jobs' targets are, and each second.

    `targets` holds for each job what stands in place of its DNS name; `localhost:9090` is Prometheus itself.
    """
    program, port = tool("prometheus"), free_port()
    config = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(COMPOSE / name) for name in config["rule_files"]]
    for job in config["scrape_configs"]:
        if job.pop("dns_sd_configs", None):
            job.update(targets[job["job_name"]])
        else:
            job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    command = [program, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            eventually(lambda: _ready(port) or process.poll() is not None, 20)
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(timeout=20)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200
    except httpx.HTTPError:
        return False
