"""`igw auth revoke` against a real extauth: what it sends, what it says, how it ends."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from igw_cli.__main__ import app
from igw_cli.client import Exit
from typer.testing import CliRunner

from tests.unit.cli.program import run

NOBODY = "http://127.0.0.1:1"
CLOSED = ("--coreweave-whoami-url", NOBODY, "--wandb-graphql-url", NOBODY)


@dataclass(frozen=True)
class Extauth:
    """A running extauth, whose authorities do not answer."""

    http: str
    ops: str

    def status(self, token: str) -> int:
        """Ask for a token: 503 while nobody can say whose it is, 401 once it is revoked."""
        headers = {"x-igw-policy": "coreweave/org-1/gw-1", "authorization": f"Bearer {token}"}
        return httpx.post(f"{self.http}/v1", headers=headers, trust_env=False).status_code


@pytest.fixture(scope="module")
def extauth() -> Iterator[Extauth]:
    """Run an extauth of two workers."""
    ports = [f"--{name}port=0" for name in ("", "grpc-", "ops-")]
    command = [sys.executable, "-m", "igw_cli", "extauth", *ports, *CLOSED, "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(json.loads(line) for line in process.stdout if '"listening"' in line)
        yield Extauth(f"http://127.0.0.1:{line['http']}", f"http://127.0.0.1:{line['ops']}")
        process.terminate()
        assert process.wait(10) == 0


def token(name: str) -> str:
    """Give a token of CoreWeave's shape."""
    return f"CW-SECRET-0123456789-{name}"


def digest(name: str) -> str:
    """Give its SHA-256 digest."""
    return hashlib.sha256(token(name).encode()).hexdigest()


def test_a_token_from_standard_input_is_revoked(extauth: Extauth) -> None:
    """It passes no more from then on; others are as they were; nothing that is printed holds it."""
    assert extauth.status(token("a")) == 503
    given = f"  {token('a')}\n"
    done = CliRunner().invoke(app, ["auth", "revoke", "--extauth", extauth.ops], input=given)
    assert (done.exit_code, done.output) == (0, f"{extauth.ops}: revoked\n")
    assert [extauth.status(token(name)) for name in "ab"] == [401, 503]


def test_a_token_from_a_file_is_revoked_where_the_environment_says(extauth: Extauth, tmp_path: Path) -> None:
    """As JSON, the digest and each extauth."""
    file = tmp_path / "token"
    file.write_text(f"{token('file')}\n")
    done = run("auth", "revoke", "--token-file", file, "--json", IGW_EXTAUTH_OPS_URLS=f"{extauth.ops}/")
    assert done.status == 0, done.err
    assert json.loads(done.out) == {
        "sha256": digest("file"),
        "results": [{"extauth": f"{extauth.ops}/", "revoked": True, "failure": ""}],
    }
    assert extauth.status(token("file")) == 401


def test_one_that_cannot_be_reached_is_told_and_the_others_revoke(extauth: Extauth) -> None:
    """The exit status says that the token may still pass somewhere."""
    to = ("--extauth", NOBODY, "--extauth", extauth.ops)
    done = run("auth", "revoke", "--sha256", digest("c").upper(), *to)
    assert done.status == Exit.UNAVAILABLE
    assert done.lines[0].startswith(f"{NOBODY}: cannot be reached")
    assert done.lines[1] == f"{extauth.ops}: revoked"
    assert "not revoked at 1 of 2" in done.err
    assert extauth.status(token("c")) == 401


def test_what_answers_otherwise_did_not_revoke(extauth: Extauth) -> None:
    """The port for checks is not the operations port."""
    done = run("auth", "revoke", "--sha256", digest("d"), "--extauth", extauth.http)
    assert done.status == Exit.FAILED
    assert "answered 404" in done.out


@pytest.mark.parametrize(
    ("arguments", "given", "text"),
    [
        ((), "", "there is no token"),
        ((), "two tokens", "there is no token"),
        ((), "x" * 20_000, "there is no token"),
        (("--token-file", "/nowhere/token"), "", "cannot be read"),
        (("--sha256", "abc"), "", "64 digits"),
        (("--sha256", "g" * 64), "", "64 digits"),
        (("--sha256", "0" * 64, "--token-file", "x"), "", "exclude each other"),
        (("--sha256", "0" * 64, "--extauth", "ftp://x"), "", "no http:// URL"),
        (("--sha256", "0" * 64, "--extauth", "http://x:y"), "", "is no URL"),
    ],
)
def test_what_cannot_be_used_is_said(arguments: tuple[str, ...], given: str, text: str) -> None:
    """And ends with the status of a wrong use."""
    done = CliRunner().invoke(app, ["auth", "revoke", *arguments], input=given)
    assert done.exit_code == Exit.INVALID
    assert text in done.output
