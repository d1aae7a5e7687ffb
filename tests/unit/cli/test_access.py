"""Which server and token a command uses: option, environment, file, local state; and where a token never goes."""

from pathlib import Path

import pytest
from igw_cli.access import Access, Given, access, configuration
from igw_cli.client import Exit, FailedError, is_loopback

HERE = "http://127.0.0.1:8081"
THERE = "https://api.example.com"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Give an environment with a home of its own and a state folder."""
    (tmp_path / "state").mkdir()
    return {"HOME": str(tmp_path), "IGW_STATE_DIR": str(tmp_path / "state")}


def configure(home: dict[str, str], text: str) -> None:
    """Write the configuration file."""
    folder = Path(home["HOME"], ".config", "igw")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(text)


def local(home: dict[str, str]) -> None:
    """Leave an admin token as `igw up` does."""
    Path(home["IGW_STATE_DIR"], "admin-token").write_text("local-token\n")


def test_the_local_gateway_is_the_default(home: dict[str, str]) -> None:
    """Beside a state folder nothing need be said."""
    local(home)
    assert access(Given(), home) == Access(HERE, "local-token")


def test_options_then_environment_then_file(home: dict[str, str], tmp_path: Path) -> None:
    """The first that says something counts, for the server and for the token."""
    (tmp_path / "token").write_text("file-token")
    configure(home, f"server: {THERE}\ntokenFile: ~/token\n")
    assert access(Given(), home) == Access(THERE, "file-token")
    environment = {
        **home,
        "IGW_SERVER": "http://env",
        "IGW_TOKEN": "env-token",
    }
    assert access(Given(), environment) == Access("http://env", "env-token")
    given = Given("http://option/", "option-token")
    assert access(given, environment) == Access("http://option", "option-token")
    assert access(Given(token_file=tmp_path / "token"), environment) == Access("http://env", "file-token")


def test_a_token_goes_only_where_it_belongs(home: dict[str, str], tmp_path: Path) -> None:
    """Neither the local token nor the file's is sent to a server that somebody names beside it."""
    local(home)
    (tmp_path / "token").write_text("file-token")
    configure(home, f"server: {THERE}\ntokenFile: {tmp_path}/token\n")
    with pytest.raises(FailedError) as refused:
        access(Given("https://evil.example.com"), home)
    assert (refused.value.status, "no token for https://evil" in str(refused.value)) == (Exit.REFUSED, True)
    assert access(Given(HERE), home) == Access(HERE, "local-token")


def test_whose_certificates_are_trusted(home: dict[str, str], tmp_path: Path) -> None:
    """The environment's authorities are for any server, those of the configuration file for its own alone."""
    local(home)
    configure(home, f"server: {THERE}\ntokenFile: {tmp_path}/state/admin-token\ncaFile: ca.crt\n")
    beside = tmp_path / ".config" / "igw" / "ca.crt"
    assert access(Given(), home) == Access(THERE, "local-token", beside)
    assert access(Given(HERE), home) == Access(HERE, "local-token")
    environment = {**home, "IGW_CA_FILE": "/etc/ca.crt"}
    for server in (HERE, THERE):
        assert access(Given(server), environment) == Access(server, "local-token", Path("/etc/ca.crt"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("server: [", "is no YAML"),
        ("[a]", "must be an object of texts: caFile, server, tokenFile"),
        ("port: '1'", "unknown field port"),
        ("server: nowhere", "the server must be an http:// or https:// URL: 'nowhere'"),
        ("tokenFile: absent", "absent cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used(home: dict[str, str], text: str, reason: str) -> None:
    """It is named with the reason, and the exit status is that of a wrong setting."""
    configure(home, text)
    with pytest.raises(FailedError) as refused:
        access(Given(), home)
    assert (refused.value.status, reason in str(refused.value)) == (Exit.INVALID, True), refused.value


def test_a_file_that_was_named_must_exist(home: dict[str, str]) -> None:
    """IGW_CONFIG names a file; without it none is fine."""
    assert configuration(home).server is None
    with pytest.raises(FailedError, match="no such file"):
        configuration({**home, "IGW_CONFIG": "/nowhere"})


def test_tokens_hide_themselves() -> None:
    """No repr shows one."""
    assert "hush" not in repr((Given(token="hush"), Access(HERE, "hush")))


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
    ],
)
def test_loopback(url: str, *, here: bool) -> None:
    """What only sounds like this machine is not."""
    assert is_loopback(url) is here
