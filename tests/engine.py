"""The Docker engine of this machine and both images of this project, built once: fixtures for whoever needs them.

Without an engine such tests are skipped; in CI one is started, so that nothing is left untested without a word.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

ROOT = Path(__file__).parents[1]
OFFLINE = ROOT / "deploy" / "offline"
TAG = "test"
BUILD_SECONDS = 900  # from nothing, base image and wheels included, on a busy machine
BASE_IMAGE = os.environ.get("BASE_IMAGE", "python:3.11-slim-bookworm")


@dataclass(frozen=True)
class Images:
    """The names of what was built."""

    base: str
    gateway: str
    envoy: str


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A client of an engine that answers."""
    if os.environ.get("CI"):
        subprocess.run([OFFLINE / "engine"], check=True)
    try:
        client = docker.from_env(timeout=300)  # seconds; a busy engine takes its time to export an image
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker engine (deploy/offline/engine starts one): {error}")
    with closing(client):
        yield client


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient) -> Images:
    """Both images, of the source as it is now."""
    del engine  # it answers
    return built()


@cache
def built() -> Images:
    """Build both images, as a user without a registry does; what did not change comes from the engine's cache."""
    subprocess.run([OFFLINE / "images", TAG], check=True, timeout=BUILD_SECONDS)
    return Images(BASE_IMAGE, f"inference-gateway:{TAG}", f"inference-gateway-envoy:{TAG}")
