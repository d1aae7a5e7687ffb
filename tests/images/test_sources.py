"""What the images are made from: the two Dockerfiles, the locks, .dockerignore, the scripts."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import docker
import pytest

from tests.engine import BUILD_SECONDS, OFFLINE, ROOT
from tests.images.filesystem import exported, names

SCRIPTS = sorted(OFFLINE.iterdir())
PRIVATE = [
    ".env",
    ".git/config",
    ".igw/store.key",
    ".igw/igw.db",
    "model/.env",
    "model/store.key",
    "cli/a.db",
    "tests/a.py",
]


def test_both_dockerfiles_share_their_layers() -> None:
    """Up to the packages of igw, the last stages are the same letter by letter, and so are the stages before."""
    gateway, envoy = (_steps(path) for path in ("Dockerfile", "envoy/Dockerfile"))
    assert _common(gateway, envoy, "# --- igw itself", "# --- the image ---") is True
    assert _common(gateway, envoy, "ARG BASE_IMAGE", "# --- igw itself") is True
    assert _last_stage(gateway) == _last_stage(envoy)


def test_the_version_is_the_projects() -> None:
    """`docker build` without arguments labels the image with the version of pyproject.toml."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for path in ("Dockerfile", "envoy/Dockerfile"):
        assert f"\nARG VERSION={version}\n" in (ROOT / path).read_text()


@pytest.mark.parametrize("lock", ["requirements-runtime.lock", "requirements-envoy.lock"])
def test_the_images_install_what_developers_test(lock: str) -> None:
    """Each version of an image's lock is the one of requirements.lock."""
    assert _versions(lock)
    assert _versions(lock) <= _versions("requirements.lock")


@pytest.mark.timeout(BUILD_SECONDS)
def test_nothing_private_goes_to_the_engine(engine: docker.DockerClient, tmp_path: Path) -> None:
    """Keys, stores, settings and tests are not even in the context of a build; the sources are."""
    shutil.copy(ROOT / ".dockerignore", tmp_path)
    for name in [*PRIVATE, "model/igw_model/gateway.py", "pyproject.toml", "deploy/ready"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    image, _ = engine.images.build(path=str(tmp_path), dockerfile=_copy_all(tmp_path), rm=True)
    try:
        with exported(engine, str(image.id), tmp_path) as file:
            sent = {entry.path.removeprefix("context/") for entry in names(file) if entry.kind == b"0"}
    finally:
        engine.images.remove(str(image.id))
    assert sent & {*PRIVATE, ".dockerignore"} == set()
    assert {"model/igw_model/gateway.py", "pyproject.toml", "deploy/ready"} <= sent


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_each_script_explains_itself(script: Path) -> None:
    """--help tells what a script does, and does nothing."""
    told = subprocess.run([script, "--help"], check=True, capture_output=True, text=True, timeout=20).stdout
    assert f"deploy/offline/{script.name}" in told


def _steps(path: str) -> str:
    return (ROOT / path).read_text()


def _common(one: str, other: str, start: str, end: str) -> bool:
    section = re.compile(f"{re.escape(start)}.*?(?={re.escape(end)})", re.DOTALL)
    first = section.search(one)
    assert first is not None
    return first[0] in other


def _last_stage(text: str) -> str:
    match = re.search(r"# --- the image ---\n(.*?)\n# --- so far as in", text, re.DOTALL)
    assert match is not None
    return match[1]


def _versions(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9][\w.-]*==[^ \\]+)", (ROOT / lock).read_text(), re.MULTILINE))


def _copy_all(folder: Path) -> str:
    """Write a Dockerfile beside the context; give its path."""
    file = folder.with_name(f"{folder.name}.Dockerfile")
    file.write_text('FROM scratch\nCOPY . /context\nCMD ["none"]\n')
    return str(file)
