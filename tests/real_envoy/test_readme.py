"""The README's examples, run as they stand but for the port that the test's gateway has."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_envoy.running import Running

ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    """Give the README's fenced blocks of a language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )


def environment(gateway: Running) -> dict[str, str]:
    return {
        **os.environ,
        "CW_API_TOKEN": gateway.token,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


CURLS = [curl for block in blocks("sh") if "curl" in block for curl in block.strip().split("\n\n")]


@pytest.mark.parametrize("command", CURLS)
def test_curl_examples(gateway: Running, command: str) -> None:
    """Each curl line answers with a completion."""
    command = command.replace(":8080", f":{gateway.port}")
    answer = subprocess.run(
        ["bash", "-c", command],
        env=environment(gateway),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert '"chat.completion"' in answer.stdout


def test_python_example(gateway: Running) -> None:
    """The OpenAI client lists the models and streams an answer."""
    [program] = blocks("python")
    program = program.replace(":8080", f":{gateway.port}")
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(gateway),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert answer.stdout.startswith("['demo-large', 'demo/small']")
    assert "You said: Hello" in answer.stdout


def test_definitions_example(tmp_path: Path, gateway: Running) -> None:
    """The definitions are valid, Envoy accepts them, and they render."""
    [definitions] = blocks("yaml")
    (tmp_path / "gateways.yaml").write_text(definitions)
    [block] = [block for block in blocks("sh") if "igw validate" in block]
    for line in block.splitlines()[:2]:
        answer = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env=environment(gateway),
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout


def test_every_option_in_the_table_exists() -> None:
    """The README's table of options is that of `igw up --help`."""
    help_text = subprocess.run(
        [sys.executable, "-m", "igw_cli", "up", "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    table = (ROOT / "README.md").read_text().split("| option | default | |")[1].split("\n\n")[0]
    options = re.findall(r"`(--[a-z-]+)`", table)
    assert len(options) > 8
    assert [option for option in options if option not in help_text] == []
