"""What the containers of the stack may do, and what they hold."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
from docker.models.containers import Container

from tests.compose.stack import Stack

PRIVATE = ("docker-proxy",)
"""What starts as root to join the group of Docker's socket, and goes on as nobody in particular."""
READ = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
TOLD = (
    ("control-plane", "http://127.0.0.1:18001/metrics"),
    ("extauth", "http://127.0.0.1:18012/metrics"),
    ("extproc", "http://127.0.0.1:18021/metrics"),
    ("collector", "http://127.0.0.1:18031/metrics"),
    ("collector", "http://127.0.0.1:18031/usage?groupBy=principal&interval=minute"),
    ("envoy-1", "http://127.0.0.1:9902/metrics"),
    ("envoy-1", "http://127.0.0.1:9901/config_dump"),
)
"""What shows itself to whoever reaches it, an Envoy's configuration among it."""
LEAST_TOLD = 300
"""Characters of each: less is no content. One row of usage has about as many."""
SHARED = ("igw:identity", "demo-org/inference")
"""What Redis has after a request: an identity, and a project's counts."""
KEYS = {
    "certificates": "/etc/igw/tls/*/tls.key /var/lib/igw/ca.key",
    "control-plane": "/var/lib/igw/authority/*/tls.key /var/lib/igw/authority/ca.key",
}
"""Where all private keys lie."""
DROPPED = {"DAC_OVERRIDE", "SYS_CHROOT", "NET_RAW", "MKNOD", "CHOWN", "FOWNER", "KILL", "SETPCAP", "SETFCAP"}


def service(container: Container) -> str:
    """Give the service that a container is of."""
    return str(container.labels["com.docker.compose.service"])


def test_every_process_runs_as_an_ordinary_user(stack: Stack) -> None:
    """In each container, no process has root's user id, and none can win capabilities."""
    found = stack.containers()
    assert len(found) >= 14
    for container in found:
        status = said(container, ["cat", "/proc/1/status"])
        assert re.search(r"^Uid:\s+10001\s+10001\s+10001\s+10001$", status, re.MULTILINE), service(container)
        for kind in ("Inh", "Prm", "Eff"):
            assert re.search(rf"^Cap{kind}:\s+0+$", status, re.MULTILINE), (service(container), status)
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE), service(container)


def test_how_containers_are_held(stack: Stack) -> None:
    """No capability is added, file systems are read-only, memory and processes are bounded."""
    for container in stack.containers(running_only=False):
        host: dict[str, Any] = container.attrs["HostConfig"]
        assert not host["CapAdd"], service(container)
        assert not host["Privileged"], service(container)
        dropped = {name.removeprefix("CAP_") for name in host["CapDrop"]}
        assert dropped == {"ALL"} or (service(container) in PRIVATE and dropped >= DROPPED), service(
            container
        )
        assert host["ReadonlyRootfs"], service(container)
        assert "no-new-privileges:true" in host["SecurityOpt"], service(container)
        assert host["PidsLimit"], service(container)
        assert host["Memory"] or service(container) == "demo-setup", service(container)
        for bindings in (host["PortBindings"] or {}).values():
            assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}, service(container)


def test_who_reaches_docker(stack: Stack) -> None:
    """The socket is mounted into the proxy alone; the control plane may read through it, and nothing else."""
    for container in stack.containers(running_only=False):
        sources = [mount["Source"] for mount in container.attrs["Mounts"]]
        assert any(source.endswith("docker.sock") for source in sources) == (
            service(container) == "docker-proxy"
        )
    assert ask(stack, "control-plane", "GET", "http://docker-proxy:2375/containers/json") == "200"
    for method, path in (
        ("POST", "/containers/json"),
        ("POST", "/containers/create"),
        ("GET", "/containers/x/json"),
        ("GET", "/images/json"),
        ("GET", "/containers/json/../../images/json"),
        ("GET", "/v1.41/info"),
    ):
        assert ask(stack, "control-plane", method, f"http://docker-proxy:2375{path}") == "403", (method, path)


def test_what_networks_keep_apart(stack: Stack) -> None:
    """A model server finds neither Docker nor the services that Envoys ask; nor does an Envoy find Docker."""
    unknown = (
        "http://docker-proxy:2375/_ping",
        "http://extauth:18012/healthz",
        "http://authority:18100/demo/calls",
    )
    redis = "http://redis:6379/"
    for url in (*unknown, redis):
        assert ask(stack, "llama", "GET", url) == "gaierror"
    for who in ("control-plane", "envoy-1", "extproc", "authority"):
        assert ask(stack, who, "GET", redis) == "gaierror"
    assert ask(stack, "envoy-1", "GET", unknown[0]) == "gaierror"
    assert ask(stack, "envoy-1", "GET", "http://control-plane:18001/healthz") == "200"


def test_no_secret_is_told(stack: Stack) -> None:
    """Tokens and keys stand in no log, metric, label, environment or command line, not in Redis, nor in an Envoy."""
    admin = stack.compose("exec", "-T", "control-plane", "cat", "/run/igw/admin-token").strip()
    hashing = stack.compose("exec", "-T", "extauth", "cat", "/var/lib/igw/auth-secret").strip()
    secrets = (admin, hashing, stack.wandb_key, stack.token, *private_keys(stack))
    assert all(len(secret) > 20 for secret in secrets)
    for host, token in (("localhost", stack.token), ("wandb.localhost", stack.wandb_key)):
        answer = httpx.get(
            f"https://127.0.0.1:{stack.ports['IGW_HTTPS_PORT']}/v1/models",
            headers={"Host": host, "Authorization": f"Bearer {token}"},
            verify=stack.trust,
        )
        assert answer.status_code == 200, answer.text
    for where, told in everything_told(stack):
        assert not any(secret in told for secret in secrets), where


def private_keys(stack: Stack) -> Iterator[str]:
    """Give a line of each private key: both authorities', each role's, and that of the local certificate."""
    for who, files in KEYS.items():
        lines = said(stack.container(who), ["sh", "-c", f"sed -s -n 2p {files}"]).split()
        assert len(lines) >= 2, lines
        yield from lines


def everything_told(stack: Stack) -> Iterator[tuple[str, str]]:
    """Give what the stack writes, shows and shares, by where that is."""
    for container in stack.containers(running_only=False):
        yield service(container), container.logs().decode(errors="replace") + json.dumps(container.attrs)
    for who, url in TOLD:
        for container in stack.containers(who):
            told = said(container, ["python3", "-c", READ, url])
            assert len(told) > LEAST_TOLD, (who, url, told)
            yield f"{who} {url}", told
    shared = redis_content(stack)
    assert all(named in shared for named in SHARED), shared[:2000]
    yield "redis", shared


def redis_content(stack: Stack) -> str:
    """Give all keys of Redis and what is kept under each, uncompressed."""
    container = stack.container("redis")
    said(container, ["redis-cli", "CONFIG", "SET", "rdbcompression", "no"])
    dump = (
        "local all = {}; for _, key in ipairs(redis.call('KEYS', '*')) do "
        "all[#all + 1] = key; all[#all + 1] = redis.call('DUMP', key) end; return all"
    )
    output = container.exec_run(["redis-cli", "--raw", "EVAL", dump, "0"]).output
    assert isinstance(output, bytes)
    return output.decode("latin-1")


def ask(stack: Stack, who: str, method: str, url: str) -> str:
    """Ask from inside a container, path as it is; give the status, or the name of what went wrong."""
    program = (
        "import http.client, sys, urllib.parse\n"
        "method, url = sys.argv[1:]\n"
        "at = urllib.parse.urlsplit(url)\n"
        "try:\n"
        "    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=3)\n"
        "    connection.request(method, at.path)\n"
        "    print(connection.getresponse().status)\n"
        "except OSError as error:\n"
        "    print(type(error).__name__)\n"
    )
    return said(stack.container(who), ["python3", "-c", program, method, url]).strip()


def said(container: Container, command: list[str]) -> str:
    """Run a command in a container and give what it printed."""
    output = container.exec_run(command).output
    assert isinstance(output, bytes)
    return output.decode()
