"""DOCKER_SOCKET that leads elsewhere: said at once, and nothing made on the host."""

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.compose.stack import Stack, eventually, published_ports
from tests.engine import BUILD_SECONDS, Images

pytestmark = pytest.mark.timeout(BUILD_SECONDS)


@pytest.fixture
def alone(engine: docker.DockerClient, images: Images) -> Iterator[Stack]:
    """A project of its own for the proxy alone."""
    named = {"IGW_IMAGE": images.gateway, "IGW_ENVOY_IMAGE": images.envoy}
    project = Stack(f"igwsocket{os.getpid()}", published_ports(), named, engine)
    yield project
    project.compose("down", "--volumes", "--timeout", "3")


def up(alone: Stack, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Start the proxy with a path as its socket."""
    monkeypatch.setenv("DOCKER_SOCKET", str(path))
    alone.compose("up", "--detach", "--no-deps", "docker-proxy")


def test_a_path_that_is_not_there(alone: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The engine refuses, naming it; it makes no folder of that name, which would hide the error from then on."""
    path = tmp_path / "no.sock"
    with pytest.raises(AssertionError, match="bind source path does not exist"):
        up(alone, monkeypatch, path)
    assert not path.exists()


def test_a_path_that_is_no_socket(alone: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The proxy's log says what is wrong."""
    path = tmp_path / "a-file"
    path.touch()
    up(alone, monkeypatch, path)
    eventually(lambda: b"DOCKER_SOCKET leads to no socket" in alone.container("docker-proxy").logs(), 20)
