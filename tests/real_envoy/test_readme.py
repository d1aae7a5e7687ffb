"""The README's examples, run as they stand but for the port that the test's gateway has."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.readme import CURLS, MANAGING, OWN, README, ROOT, TRY, blocks
from tests.real_envoy.running import REPLICAS, Running, eventually


def environment(gateway: Running) -> dict[str, str]:
    return {
        **os.environ,
        "CW_API_TOKEN": gateway.token,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "IGW_CONFIG": "",
    }


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
    [program] = blocks("python", TRY)
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


@pytest.mark.parametrize("document", ["README.md", "docs/https.md"])
def test_https_example(gateway: Running, tmp_path: Path, document: str) -> None:
    """The line works with the authority that the gateway made; so does the OpenAI client that trusts it."""
    (tmp_path / ".igw").symlink_to(gateway.folder / "state")
    https = urlsplit(gateway.ready["https"]).port
    [command] = [
        line for line in (ROOT / document).read_text().splitlines() if line.startswith("curl --cacert .igw/")
    ]
    [program] = blocks("python", TRY)
    program = program.replace("http://localhost:8080", f"https://localhost:{https}")
    for line, said in (
        (["bash", "-c", command.replace(":8443", f":{https}")], '"demo-large"'),
        ([sys.executable, "-c", program], "You said: Hello"),
    ):
        answer = subprocess.run(
            line,
            cwd=tmp_path,
            env={**environment(gateway), "SSL_CERT_FILE": ".igw/authority/ca.crt"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert said in answer.stdout


def test_definitions_example(tmp_path: Path, gateway: Running) -> None:
    """The definitions are valid, Envoy accepts them, and they render."""
    [definitions] = blocks("yaml", OWN)
    (tmp_path / "gateways.yaml").write_text(definitions)
    [block] = [block for block in blocks("sh", OWN) if "igw validate" in block]
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


@pytest.mark.timeout(240)
def test_managing_example(own_gateway: Running) -> None:
    """The section about the API, from its first command to its last, in one shell: all of it works."""
    folder = own_gateway.folder
    (folder / ".igw").symlink_to(folder / "state")
    [canary] = blocks("yaml", MANAGING)
    (folder / "canary.yaml").write_text(_on_ports(canary, own_gateway))
    script = "\n".join(blocks("sh", MANAGING))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", _on_ports(script, own_gateway)],
        cwd=folder,
        env={**environment(own_gateway), "IGW_SERVER": own_gateway.ready["api"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"code":' not in done.stdout
    assert done.stdout.count('"chat.completion"') == 1
    for line in (
        r"deployment/mine-canary created",
        r"mine-stable +900 → 50 +90.0 % → 50.0 %",
        r"demo/small +mine-canary +READY +50 +50.0 %",
        r"1 of 1 have the newest configuration.",
        r".* local-admin +UPDATE +deployment +mine-stable +traffic.weight: 50 → 150",
        r"deployment/mine-canary deleted",
    ):
        assert re.search(line, done.stdout), (line, done.stdout)
    assert "deployment/mine-canary is READY" in done.stderr
    eventually(lambda: "mine" not in [gateway["name"] for gateway in own_gateway.ready["gateways"]])


def _on_ports(text: str, gateway: Running) -> str:
    """Put the ports of a running gateway in the place of the usual ones."""
    api = urlsplit(gateway.ready["api"]).port
    ports = {"8080": gateway.port, "8081": api}
    ports |= {f"1810{number}": gateway.replica_port(name) for number, name in enumerate(REPLICAS, 1)}
    return re.sub("8080|8081|1810[1-3]", lambda found: str(ports[found[0]]), text)


def test_every_option_in_the_table_exists() -> None:
    """The README's table of options is that of `igw up --help`."""
    help_text = subprocess.run(
        [sys.executable, "-m", "igw_cli", "up", "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    table = README.split("| option | default | |")[1].split("\n\n")[0]
    options = re.findall(r"`(--[a-z-]+)`", table)
    assert len(options) > 8
    assert [option for option in options if option not in help_text] == []
