"""The README's section about Compose, run as it stands but for the ports and the project's name."""

import os
import re
import subprocess
import sys

import pytest

from tests.compose.stack import Stack, compose_command, eventually, serving
from tests.readme import COMPOSE, CURLS, ROOT, TRY, blocks

UP, SCALE = blocks("sh", COMPOSE)


def run(stack: Stack, script: str) -> str:
    """Run lines of the README in a shell; `docker compose` is whichever Compose there is."""
    for name, port in (("8080", "IGW_PORT"), ("8081", "IGW_API_PORT")):
        script = script.replace(f":{name}", f":{stack.ports[port]}")
    script = script.replace("docker compose", " ".join(compose_command()))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env={**stack.environment, "CW_API_TOKEN": stack.token},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_up_and_token(stack: Stack) -> None:
    """The first lines are what brought the stack up, and can be said again; they give a token."""
    assert run(stack, UP + '\necho "$CW_API_TOKEN"').strip().endswith(stack.token)
    eventually(lambda: serving(stack), 60, stack.logs)


@pytest.mark.parametrize("command", CURLS)
def test_curl_examples(stack: Stack, command: str) -> None:
    """Each curl line answers with a completion."""
    assert '"chat.completion"' in run(stack, command)


def test_python_example(stack: Stack) -> None:
    """The OpenAI client lists the models and streams an answer."""
    [program] = blocks("python", TRY)
    done = subprocess.run(
        [sys.executable, "-c", program.replace(":8080", f":{stack.ports['IGW_PORT']}")],
        env={**stack.environment, "CW_API_TOKEN": stack.token},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith("['demo-large', 'demo/small']")
    assert "You said: Hello" in done.stdout


def test_scaling_example(stack: Stack) -> None:
    """Three containers take turns, the deployments are listed, and the split is changed."""
    printed = run(stack, SCALE)
    assert len(set(re.findall(r"I am (\S+) of llama", printed))) > 1, printed
    assert re.search(r"^llama +READY +demo/small", printed, re.MULTILINE), printed
    assert "90.0 % → 50.0 %" in printed, printed
    run(
        stack,
        "docker compose exec -T control-plane igw traffic set demo/small llama=900 llama-canary=100 --gateway chat",
    )
    stack.scale("llama", 1)


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
