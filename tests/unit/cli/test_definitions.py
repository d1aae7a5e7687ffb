"""`igw validate` and `igw render`: definitions in, Envoy's configuration or all errors out."""

import json
import socket
import subprocess
from pathlib import Path

import pytest
import yaml
from igw_cli.envoy import envoy_command

from tests.builders import deployment_spec, gateway_id, gateway_spec, without, write
from tests.unit.cli.program import igw


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Give a file with a gateway and its deployment."""
    return write(tmp_path / "good.yaml", gateway_spec(), deployment_spec())


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Give a file with three errors."""
    return write(
        tmp_path / "broken.yaml", gateway_spec(zones=[], name=""), deployment_spec(traffic={"weight": 1001})
    )


ERRORS = """\
error: {0}, document 1: name: must not be empty
error: {0}, document 1: zones: must have exactly one zone
error: {0}, document 2: traffic.weight: must be at most 1000
igw: 3 error(s) in the definitions; nothing was started
"""


@pytest.mark.parametrize("command", ["validate", "render", "up", "xds"])
def test_broken_definitions(command: str, broken: Path, tmp_path: Path) -> None:
    """Exit status 2, every error on stderr with its place, nothing on stdout, nothing started or written."""
    up = [f"--{name}=0" for name in PORTS] if command == "up" else []
    done = igw(command, "-f", broken, *up, IGW_STATE_DIR=str(tmp_path / "state"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ERRORS.format(broken)
    assert not list((tmp_path / "state").glob("*"))


PORTS = (
    "port",
    "admin-port",
    "xds-port",
    "xds-ops-port",
    "extauth-port",
    "extauth-grpc-port",
    "extauth-ops-port",
    "extproc-port",
    "extproc-ops-port",
    "api-port",
    "api-grpc-port",
)


@pytest.mark.parametrize("command", ["validate", "render"])
def test_no_files(command: str) -> None:
    """Without files the message says how to name them."""
    done = igw(command)
    assert (done.returncode, done.stderr) == (2, "igw: name definition files with -f FILE\n")


def test_validate_asks_envoy(good: Path) -> None:
    """Valid definitions are valid for Envoy too."""
    done = igw("validate", "-f", good)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The definitions are valid, and Envoy accepts what they become.\n"


def test_render_gives_a_configuration_that_envoy_accepts(good: Path, tmp_path: Path) -> None:
    """What is printed can be pasted into an Envoy; JSON and YAML are the same document."""
    as_yaml, as_json = igw("render", "-f", good), igw("render", "-f", good, "--json")
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)
    path = tmp_path / "envoy.yaml"
    path.write_text(as_yaml.stdout, encoding="utf-8")
    subprocess.run([envoy_command(), "--mode", "validate", "-c", str(path)], check=True, capture_output=True)


def test_render_is_always_the_same(good: Path) -> None:
    """Equal definitions print equal text, so that two renders can be compared."""
    first, again = (igw("render", "-f", good, PYTHONHASHSEED=seed).stdout for seed in ("1", "2"))
    assert first == again


def test_options_and_their_environment(tmp_path: Path) -> None:
    """Each option is also an environment variable; the option wins."""
    path = write(tmp_path / "d.yaml", without(gateway_spec(), "organizationId"))
    settings = {"IGW_FILES": str(path), "IGW_ORGANIZATION_ID": "acme", "IGW_DOMAIN": "a.example.com"}
    assert f"host/api.{gateway_id(1)}.a.example.com" in igw("render", **settings).stdout
    chosen = igw("render", "--domain", "b.example.com", "--organization-id", "other", **settings).stdout
    assert f"host/api.{gateway_id(1)}.b.example.com" in chosen
    assert "policy: coreweave/other/" in chosen
    assert "host/" not in igw("render", "--zone", "elsewhere", **settings).stdout


@pytest.mark.parametrize(
    ("option", "name"), [("port", "ingress"), ("admin-port", "admin"), ("extauth-grpc-port", "extauth_grpc")]
)
def test_up_tells_which_port_is_busy(good: Path, tmp_path: Path, option: str, name: str) -> None:
    """A port that is in use is named with the option that chooses another; nothing is started."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        others = [f"--{other}=0" for other in PORTS if other != option]
        state = tmp_path / "state"
        done = igw("up", "-f", good, *others, f"--{option}={port}", IGW_STATE_DIR=str(state))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"igw: port {port} ({name}) cannot be used: Address already in use; choose another with --{option}\n"
    )
    assert not state.exists()


def test_up_tells_when_a_port_is_chosen_twice(good: Path, tmp_path: Path) -> None:
    """Two parts cannot have the same port, and the message is the same as for a busy one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    others = [f"--{other}=0" for other in PORTS if other not in {"port", "admin-port"}]
    chosen = [f"--port={port}", f"--admin-port={port}"]
    done = igw("up", "-f", good, *others, *chosen, IGW_STATE_DIR=str(tmp_path / "state"))
    assert done.returncode == 1
    assert f"port {port} (admin) cannot be used" in done.stderr
