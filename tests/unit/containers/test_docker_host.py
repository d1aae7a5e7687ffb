"""`--docker-host`: what it takes, and that all else is told before anything is started."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from igw_cli.layout import Layout, Ports, services
from igw_cli.options import docker_host
from igw_xds.settings import AuthTransport, BodyRouting, StreamUsage

from tests.unit.cli.program import igw


@pytest.mark.parametrize(
    "url",
    [
        "unix:///var/run/docker.sock",
        "tcp://docker-proxy:2375",
        "http://10.0.0.1:2375",
        "tcp://[fd00::1]:2375",
        "http://docker-proxy:2375/",
    ],
)
def test_taken(url: str) -> None:
    """A socket, or where an engine or its proxy answers in clear."""
    assert docker_host(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ssh://root@host",
        "https://host:2376",
        "npipe:////./pipe/docker_engine",
        "unix://docker.sock",
        "tcp://host",
        "tcp://host:2375/path",
        "tcp://user:secret@host:2375",
        "docker-proxy:2375",
        "tcp://host:2375\n",
    ],
)
def test_refused(url: str) -> None:
    """Other ways to an engine are not spoken, and a path or a password would go unused."""
    with pytest.raises(typer.BadParameter, match="is not unix:///PATH, tcp://HOST:PORT or http://HOST:PORT"):
        docker_host(url)


@pytest.mark.parametrize("command", ["xds", "up"])
def test_exit_status(command: str) -> None:
    """Exit status 2, and the option's name; from the environment too."""
    done = igw(command, IGW_DOCKER_HOST="ssh://root@host", COLUMNS="200")
    assert (done.returncode, done.stdout) == (2, "")
    assert "ssh://root@host" in done.stderr
    assert "--docker-host" in done.stderr


@pytest.mark.parametrize("url", ["unix:///var/run/docker.sock", None])
def test_igw_up_passes_it_on(url: str | None) -> None:
    """To the control plane, which follows the engine."""
    ports: dict[str, Any] = {field.name: 1 for field in fields(Ports) if field.name != "models"}
    layout = Layout(
        ports=Ports(**ports),
        listen="127.0.0.1",
        files=(),
        state_dir=Path("/nowhere"),
        organization=None,
        admin_organization="acme",
        management=(),
        docker_host=url,
        auth_transport=AuthTransport.HTTP,
        zone=None,
        domain="gw.localhost",
        trusted_proxies=0,
        lease_seconds=20,
        body_routing=BodyRouting.AUTO,
        stream_usage=StreamUsage.AUTO,
        tls=(),
        tracing=(),
        max_body_bytes=1024,
        log_level="info",
    )
    (argv,) = [child.argv for child in services(layout, demo=False) if child.name == "xds"]
    assert [argv[at + 1] for at, part in enumerate(argv) if part == "--docker-host"] == ([url] if url else [])
