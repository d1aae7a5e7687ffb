"""`igw xds` before it serves: what stands in its way is told, and nothing is started; whose token a caller has."""

from pathlib import Path

import pytest
from igw_api.authentication import IdentityUnavailableError, Principal
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
        (["--admin-token-file", "/nowhere", "--organization-id", "acme"], "/nowhere cannot be read"),
        (["--admin-token-file", "/dev/null", "--organization-id", "acme"], "/dev/null holds no token"),
        (["--admin-token-file", "/dev/null"], "the admin token needs an organisation"),
    ],
)
def test_settings_that_cannot_be_used(arguments: list[str], reason: str) -> None:
    """Exit status 2, and the reason."""
    done = igw("xds", *PORTS, *arguments, COLUMNS="200")
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    """The store is not opened with it."""
    key = tmp_path / "store.key"
    key.write_text("key")
    key.chmod(0o644)
    done = igw("xds", *PORTS, "--state-dir", tmp_path)
    assert (done.returncode, f"chmod 600 {key}" in done.stderr) == (2, True)


def test_identities_in_the_apis_words() -> None:
    """Known, unknown, and an authority that does not answer, which says nothing of the token."""
    assert principal_of(Known(Identified("uid", frozenset({"acme"})))) == Principal("uid", "acme")
    assert principal_of(Unknown()) is None
    with pytest.raises(IdentityUnavailableError):
        principal_of(Unavailable("timeout"))
