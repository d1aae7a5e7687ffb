"""The stack of compose.yaml for tests: brought up under a project name of its own, asked as a client would, torn down.

The control plane, Envoys and services are the images that compose.yaml builds; nothing stands in for anything.
"""

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from tests.engine import OFFLINE
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
UP_SECONDS = 600
PORTS = (
    "IGW_HTTPS_PORT",
    "IGW_HTTPS_PORT_2",
    "IGW_PORT",
    "IGW_PORT_2",
    "IGW_API_PORT",
    "IGW_API_GRPC_PORT",
    "IGW_PROMETHEUS_PORT",
    "IGW_GRAFANA_PORT",
)
HTTPS_PORT = 443
"""Of an Envoy, in its networks."""
MODELS = {"demo/small": ("llama", "llama-canary"), "demo-large": ("mistral",)}


@dataclass(frozen=True)
class Stack:
    """A Compose project that is up: its name, the ports it publishes, and the engine it runs on."""

    project: str
    ports: Mapping[str, int]
    images: Mapping[str, str]
    engine: docker.DockerClient

    @property
    def environment(self) -> dict[str, str]:
        """What `compose` is told, beside the project's name."""
        return {
            **os.environ,
            **{name: str(port) for name, port in self.ports.items()},
            **self.images,
            "COMPOSE_PROJECT_NAME": self.project,
            "PIP_NO_INDEX": "1",
        }

    def compose(self, *arguments: str, profile: str = "demo") -> str:
        """Run `docker compose`, 2 or 1.29, whichever there is; give what it printed."""
        done = subprocess.run(
            [*compose_command(), "--profile", profile, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=UP_SECONDS,
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(arguments)}: {done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout

    def igw(self, *arguments: str) -> str:
        """Run a client command in the control plane's container."""
        return self.compose("exec", "-T", "control-plane", "igw", *arguments)

    @cached_property
    def token(self) -> str:
        """Give the demo's CoreWeave token, as the README does."""
        return self.compose("exec", "-T", "authority", "igw", "demo", "token", "coreweave").strip()

    @cached_property
    def wandb_key(self) -> str:
        """Give the demo's W&B key."""
        return self.compose("exec", "-T", "authority", "igw", "demo", "token", "wandb").strip()

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """Give what clients trust: the local authority, which signed for all host names."""
        authority = self.compose("exec", "-T", "control-plane", "cat", "/var/lib/igw/authority/ca.crt")
        return ssl.create_default_context(cadata=authority)

    def containers(self, service: str | None = None, *, running_only: bool = True) -> list[Container]:
        """Give the project's containers, by name."""
        labels = [f"com.docker.compose.project={self.project}"]
        if service is not None:
            labels.append(f"com.docker.compose.service={service}")
        found = self.engine.containers.list(all=not running_only, filters={"label": labels})
        return sorted(found, key=lambda container: str(container.name))

    def container(self, service: str) -> Container:
        """Give a service's first container, running or not."""
        return self.containers(service, running_only=False)[0]

    def scale(self, service: str, count: int) -> None:
        """Have so many containers of a service and change nothing else."""
        self.compose("up", "--detach", "--no-recreate", "--no-deps", "--scale", f"{service}={count}", service)

    def envoys(self) -> list[str]:
        """Give host and port of the Envoys that are there, as a load balancer beside them reaches them."""
        found = (self.address_of(self.container(name), "gateway") for name in ("envoy-1", "envoy-2"))
        return [f"{address}:{HTTPS_PORT}" for address in found if address]

    def address_of(self, container: Container, network: str) -> str:
        """Give a container's address in one of the project's networks."""
        container.reload()
        found = container.attrs["NetworkSettings"]["Networks"][f"{self.project}_{network}"]["IPAddress"]
        return str(found)

    def deployments(self) -> dict[str, str]:
        """Give each deployment's status, by name, as the management API has it."""
        items = json.loads(self.igw("get", "deployments", "--output", "json"))["items"]
        return {item["spec"]["name"]: item["status"]["status"] for item in items}

    def logs(self) -> str:
        """Give the last lines of every container, for an assertion's message."""
        return "\n".join(
            f"--- {container.name} {container.status}\n{container.logs(tail=15).decode(errors='replace')}"
            for container in self.containers(running_only=False)
        )


def packaged(script: str, image: str) -> str | None:
    """Give an image of ours that a script of deploy/offline makes from Debian's packages; None without apt."""
    if shutil.which("apt-get") is None and not os.environ.get("CI"):
        return None
    # The name is our own: no registry has it, so none is waited for.
    subprocess.run([OFFLINE / script, image], check=True, env={**os.environ, "PULL_SECONDS": "5"})
    return image


def compose_command() -> list[str]:
    """Give `docker compose`, else `docker-compose`; IGW_COMPOSE names another."""
    if named := os.environ.get("IGW_COMPOSE"):
        return [named]
    docker_command = shutil.which("docker")
    if docker_command:
        asked = subprocess.run([docker_command, "compose", "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return [docker_command, "compose"]
    return ["docker-compose"]


def published_ports() -> dict[str, int]:
    """Give a free port for each that is published."""
    return dict(zip(PORTS, free_ports(len(PORTS)), strict=True))


@contextlib.contextmanager
def running(engine: docker.DockerClient, images: Mapping[str, str]) -> Iterator[Stack]:
    """Bring the demo up, as the README does, and take all of it down again, whatever happened."""
    stack = Stack(f"igwtest{os.getpid()}", published_ports(), images, engine)
    try:
        stack.compose("up", "--build", "--detach")
        eventually(lambda: serving(stack), 120, stack.logs)
        yield stack
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "3")


def serving(stack: Stack) -> bool:
    """Say whether every deployment of the demo is ready."""
    with contextlib.suppress(AssertionError):
        found = stack.deployments()
        return len(found) == 3 and set(found.values()) == {"STATUS_READY"}
    return False


def eventually(holds: Callable[[], bool], seconds: float, told: Callable[[], Any] = str) -> float:
    """Wait until something holds and give the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, told()
        time.sleep(0.05)
    return time.monotonic() - began


def started_at(container: Container) -> float:
    """Give when a container was last started, in Unix seconds."""
    container.reload()
    text = str(container.attrs["State"]["StartedAt"])
    return datetime.fromisoformat(text[:26] + "+00:00").timestamp()
