"""The README's section about Compose, run as it stands but for the ports and the project's name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compose.stack import Stack, compose_command, eventually, serving
from tests.engine import BUILD_SECONDS
from tests.readme import COMPOSE, CURLS, ROOT, TRY, blocks

pytestmark = pytest.mark.timeout(BUILD_SECONDS)

UP, ASK, SCALE = blocks("sh", COMPOSE)


@pytest.fixture(scope="module")
def folder(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader is after the first lines of the section: beside `ca.crt`."""
    folder = tmp_path_factory.mktemp("reader")
    run(stack, folder, UP.partition("\n")[2])  # it is up
    return folder


def run(stack: Stack, folder: Path, script: str) -> str:
    """Run lines of the README in a shell; `docker compose` is whichever Compose there is."""
    script = script.replace(":8443", f":{stack.ports['IGW_HTTPS_PORT']}")
    script = script.replace("docker compose", " ".join(compose_command()))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**stack.environment, "CW_API_TOKEN": stack.token, "COMPOSE_FILE": str(ROOT / "compose.yaml")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def over_https(text: str) -> str:
    """Give an example of "Try it" as the section says that it is to be said here."""
    text = text.replace("curl http:", "curl --cacert ca.crt https:").replace('"http:', '"https:')
    return text.replace(":8080", ":8443")


def test_up_and_token(stack: Stack, folder: Path) -> None:
    """The first lines are what brought the stack up, and can be said again; they give a token, and it gives models."""
    assert run(stack, folder, UP + '\necho "$CW_API_TOKEN"').strip().endswith(stack.token)
    eventually(lambda: serving(stack), 60, stack.logs)
    assert '"demo/small"' in run(stack, folder, ASK)


@pytest.mark.parametrize("command", CURLS)
def test_curl_examples(stack: Stack, folder: Path, command: str) -> None:
    """Each curl line answers with a completion."""
    assert '"chat.completion"' in run(stack, folder, over_https(command))


def test_python_example(stack: Stack, folder: Path) -> None:
    """The OpenAI client lists the models and streams an answer."""
    [program] = blocks("python", TRY)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            over_https(program).replace(":8443", f":{stack.ports['IGW_HTTPS_PORT']}"),
        ],
        cwd=folder,
        env={**stack.environment, "CW_API_TOKEN": stack.token, "SSL_CERT_FILE": "ca.crt"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("['demo-large', 'demo/small']")
    assert "You said: Hello" in done.stdout


def test_scaling_example(stack: Stack, folder: Path) -> None:
    """Three containers take turns as soon as they answer, the deployments are listed, and the split is changed."""
    printed = run(stack, folder, SCALE)
    assert len(_who_answered(printed)) == 8, printed
    again = SCALE[SCALE.index("for i") : SCALE.index("done") + len("done")]
    eventually(lambda: len(set(_who_answered(run(stack, folder, again)))) > 1, 20, stack.logs)
    assert re.search(r"^llama +READY +demo/small", printed, re.MULTILINE), printed
    assert "90.0 % → 50.0 %" in printed, printed
    stack.igw("traffic", "set", "demo/small", "llama=900", "llama-canary=100", "--gateway", "chat")
    stack.scale("llama", 1)


def _who_answered(printed: str) -> list[str]:
    return re.findall(r"I am (\S+) of llama", printed)


def test_the_demos_definitions_are_given_once(stack: Stack) -> None:
    """What an operator changed stays when the stack is brought up again."""
    stack.igw("traffic", "set", "demo/small", "llama=700", "llama-canary=300", "--gateway", "chat")
    stack.compose("up", "--detach", "--no-recreate")
    eventually(lambda: stack.container("demo-setup").status == "exited", 30)
    assert '"weight": 700' in stack.igw("get", "deployment", "llama", "--output", "json")
    stack.igw("traffic", "set", "demo/small", "llama=900", "llama-canary=100", "--gateway", "chat")


def test_no_other_environment_is_needed() -> None:
    """The file is valid for this Compose with nothing set, both profiles on."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("IGW_", "COMPOSE_"))}
    subprocess.run(
        [*compose_command(), "--profile", "demo", "--profile", "observe", "config", "--quiet"],
        cwd=ROOT,
        env=clean,
        check=True,
        timeout=30,
    )
