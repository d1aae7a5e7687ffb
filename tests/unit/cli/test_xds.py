"""`igw xds` before it serves: what stands in its way is told, and nothing is started; whose token a caller has."""

import os
from pathlib import Path

import pytest
from igw_api.authentication import IdentityUnavailableError, Principal
from igw_cli.control_plane import _private
from igw_cli.identity import principal_of
from igw_extauth.identity import Known, Unavailable, Unknown
from igw_extauth.identity import Principal as Identified

from tests.unit.cli.program import igw

PORTS = ("--port=0", "--ops-port=0", "--api-port=0", "--api-grpc-port=0")


@pytest.mark.parametrize("command", ["xds", "up"])
@pytest.mark.parametrize("option", ["--roles-file", "--parameters-file"])
def test_broken_files(command: str, option: str, tmp_path: Path) -> None:
    """Each is named with its reason; exit status 2."""
    path = tmp_path / "broken.yaml"
    path.write_text("nonsense: 1")
    ports = PORTS if command == "xds" else ()
    done = igw(command, *ports, option, path, IGW_STATE_DIR=str(tmp_path / "state"), IGW_PORT="0")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{path}: nonsense: unknown field" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--backend-network", "10.0.0.1/8"], "'10.0.0.1/8' is not a network"),
        (["--endpoint-scheme", "ftp"], "--endpoint-scheme is http or https"),
        (["--coreweave-whoami-url", "nowhere"], "must be an absolute http:// or https:// URL"),
        (
            ["--admin-token-file", "/proc/nowhere", "--organization-id", "acme"],
            "cannot be kept in /proc/nowhere",
        ),
        (["--admin-token-file", "/dev/null"], "the admin token needs an organisation"),
    ],
)
def test_settings_that_cannot_be_used(arguments: list[str], reason: str) -> None:
    """Exit status 2, and the reason."""
    done = igw("xds", *PORTS, *arguments, COLUMNS="200")
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr


def test_a_state_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """It is told with the option and the system's reason."""
    (tmp_path / "file").touch()
    done = igw("xds", *PORTS, "--state-dir", tmp_path / "file" / "state", COLUMNS="300")
    assert done.returncode == 2
    assert f"--state-dir {tmp_path}/file/state cannot be made: Not a directory" in done.stderr


@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        ("store.key", 0o640, "chmod 600 {path}"),
        ("store.key", 0o604, "chmod 600 {path}"),
        ("token", 0o660, "chmod 600 {path}"),
        ("token", 0o604, "chmod 600 {path}"),
        ("token", 0o600, "{path} holds no token"),
    ],
)
def test_a_secrets_file_that_cannot_be_used(name: str, mode: int, reason: str, tmp_path: Path) -> None:
    """The store's key and the admin's token are their owner's alone, and a token is not empty."""
    path = tmp_path / name
    path.touch()
    path.chmod(mode)
    token = ("--admin-token-file", path) if name == "token" else ()
    arguments = ("--state-dir", tmp_path, "--organization-id", "acme", *token)
    done = igw("xds", *PORTS, *arguments, COLUMNS="300")
    assert (done.returncode, reason.format(path=path) in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("mode", "owner", "private"),
    [(0o600, 7, True), (0o400, 7, True), (0o640, 7, False), (0o440, 0, True), (0o640, 0, True)]
    + [(mode, 0, False) for mode in (0o660, 0o444, 0o644)],
)
def test_whose_a_token_is(*, mode: int, owner: int, private: bool) -> None:
    """It is its owner's alone; root's may be read by a group, as Kubernetes and systemd hand secrets over."""
    file = os.stat_result((0o100000 | mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))
    assert _private(file) is private


def test_identities_in_the_apis_words() -> None:
    """Known, unknown, and an authority that does not answer, which says nothing of the token."""
    assert principal_of(Known(Identified("uid", frozenset({"acme"})))) == Principal("uid", "acme")
    assert principal_of(Unknown()) is None
    with pytest.raises(IdentityUnavailableError):
        principal_of(Unavailable("timeout"))
