"""How the images run: as a user without rights, on a read-only root, healthy when they serve."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

import docker
import pytest
from docker.models.containers import Container
from igw_certs.identity import Role

from tests.engine import BUILD_SECONDS, Images

pytestmark = pytest.mark.timeout(BUILD_SECONDS)


class Contained(TypedDict):
    """Options of a container that may do nothing."""

    cap_drop: list[str]
    read_only: bool
    tmpfs: dict[str, str]
    security_opt: list[str]
    network_mode: str


CONTAINED = Contained(
    cap_drop=["ALL"],
    read_only=True,
    tmpfs={"/tmp": "mode=1777"},  # noqa: S108 - the container's own
    security_opt=["no-new-privileges"],
    network_mode="none",
)


@pytest.fixture(params=["gateway", "envoy"])
def image(request: pytest.FixtureRequest, images: Images) -> str:
    """Each image by turns."""
    return str(getattr(images, request.param))


def test_nobody_with_rights_runs_it(image: str, engine: docker.DockerClient) -> None:
    """The user is igw, 10001, without a capability, even where `docker run` was given no option."""
    told = _output(engine, image, "bash", "-c", "id; grep -E 'CapEff|CapPrm' /proc/self/status")
    assert "uid=10001(igw) gid=10001(igw) groups=10001(igw)" in told
    assert told.count("0000000000000000") == 2


def test_folders_for_volumes_are_the_users(image: str, engine: docker.DockerClient) -> None:
    """A new volume takes the owner and the mode of the image's folder: for state, and for each role's certificate."""
    roles = (f"/etc/igw/tls/{role}" for role in Role)
    folders = ["/var/lib/igw", "/etc/igw/tls", *roles]
    assert _output(engine, image, "stat", "-c", "%U %G %a", *folders) == "igw igw 700\n" * len(folders)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_command_runs_contained(option: str, images: Images, engine: docker.DockerClient) -> None:
    """The command needs no right, no writable root and no network to tell about itself."""
    told = engine.containers.run(images.gateway, [option], remove=True, **CONTAINED).decode()
    assert "igw" in told


def test_the_launcher_of_envoy_runs_contained(images: Images, engine: docker.DockerClient) -> None:
    """The command of the Envoy image is `igw envoy`."""
    told = engine.containers.run(images.envoy, ["--help"], remove=True, **CONTAINED).decode()
    assert "igw envoy" in told


def test_a_service_becomes_healthy_and_ends_when_asked(images: Images, engine: docker.DockerClient) -> None:
    """The image's own health check sees extproc serve; SIGTERM reaches it, and it ends in order."""
    with _started(engine, images.gateway, "extproc") as container:
        assert _health(container, seconds=60) == "healthy"
        container.stop(timeout=15)
        assert container.wait()["StatusCode"] == 0


def test_what_does_not_serve_is_not_ready(images: Images, engine: docker.DockerClient) -> None:
    """The check fails in a container where igw does not listen."""
    with _started(engine, images.gateway, "infinity", entrypoint="sleep") as container:
        assert container.exec_run(["ready"]).exit_code == 1
        assert container.exec_run(["ready", "9902", "/ready"]).exit_code == 1


def _output(engine: docker.DockerClient, image: str, program: str, *arguments: str) -> str:
    output: bytes = engine.containers.run(image, list(arguments), entrypoint=program, remove=True)
    return output.decode()


@contextmanager
def _started(
    engine: docker.DockerClient, image: str, *command: str, entrypoint: str | None = None
) -> Iterator[Container]:
    container = engine.containers.run(image, list(command), entrypoint=entrypoint, detach=True, **CONTAINED)
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


def _health(container: Container, seconds: float) -> str:
    """Give the first verdict of the health check, or the last state when the time is over."""
    end = time.monotonic() + seconds
    state = "starting"
    while state == "starting" and time.monotonic() < end:
        time.sleep(0.5)
        container.reload()
        state = container.attrs["State"].get("Health", {}).get("Status", "no health check")
    return state
