"""`deploy/systemd`: units that systemd and igw take as they are, checked without being started.

`systemd-analyze` is in Debian's package systemd; without it (`apt-get install systemd`) its tests are skipped,
but never in CI.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from string import Template
from typing import Any

import pytest

from tests.deploy.commands import parsed, variables

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
ALL = {path.name: path for path in sorted(FOLDER.glob("*.service"))}
RENEWAL = "igw-certs@.service"
UNITS = {name: path for name, path in ALL.items() if name != RENEWAL}
"""What runs all the time."""
ROLES = {name: "proxy" if name == "igw-envoy.service" else name[4:].partition(".")[0] for name in UNITS}
"""What each unit's certificate is for."""
INSTALLED = "/opt/igw/bin/igw"
EXPOSURE = {"igw-envoy.service": 16, RENEWAL: 16}
"""Tenths that `systemd-analyze security` may find at most, where it is not 15, which a service with a network comes to:
Envoy's capability is one, and what renews certificates is root."""

LOW_PORTS = "CAP_NET_BIND_SERVICE"

analyzed = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and "CI" not in os.environ, reason="needs systemd-analyze"
)


def settings(unit: str) -> list[tuple[str, str]]:
    """Give a unit's settings in order."""
    lines = ALL[unit].read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#[")
    return [(name, value) for name, _, value in pairs]


def values(unit: str, name: str) -> list[str]:
    """Give every value of a setting."""
    return [value for found, value in settings(unit) if found == name]


def value(unit: str, name: str) -> str:
    """Give the value of a setting that is there once."""
    [found] = values(unit, name)
    return found


def environment(unit: str) -> dict[str, str]:
    """Give the variables of a unit's environment files, as they are here."""
    files = [FOLDER / Path(name).name for name in values(unit, "EnvironmentFile")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def command(unit: str, role: str = "") -> tuple[str, Mapping[str, Any]]:
    """Give what `igw` makes of a unit's first command line; `role` is what stands after the unit's `@`."""
    line = values(unit, "ExecStart")[0].replace("%i", role).replace("%H", "host-1")
    program, *arguments = shlex.split(Template(line).substitute(environment(unit)))
    assert program == INSTALLED
    return parsed(arguments, environment(unit))


def runnable(folder: Path) -> list[Path]:
    """Give copies of the units, and of their timer, whose program is there on this machine."""
    for path in (*ALL.values(), *FOLDER.glob("*.timer")):
        here = str(Path(sys.executable).with_name("igw"))
        (folder / path.name).write_text(
            path.read_text(encoding="utf-8").replace(INSTALLED, here), encoding="utf-8"
        )
    return sorted(folder.iterdir())


@analyzed
def test_systemd_takes_them(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *runnable(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@analyzed
def test_a_wrong_unit_is_found(tmp_path: Path) -> None:
    """A setting that systemd does not know fails the test above."""
    runnable(tmp_path)
    unit = tmp_path / "igw-xds.service"
    unit.write_text(
        unit.read_text(encoding="utf-8").replace("ProtectHome=", "ProtectHouse="), encoding="utf-8"
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert "ProtectHouse" in done.stderr


@analyzed
@pytest.mark.parametrize("unit", ALL)
def test_hardening(unit: str, tmp_path: Path) -> None:
    """`systemd-analyze security` finds little left that a unit may do."""
    runnable(tmp_path)
    arguments = [
        "--offline=true",
        f"--threshold={EXPOSURE.get(unit, 15)}",
        "--no-pager",
        str(tmp_path / unit),
    ]
    done = subprocess.run(
        ["systemd-analyze", "security", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("unit", "name"), [(unit, unit.split("-")[1].split(".")[0]) for unit in UNITS])
def test_command_lines(unit: str, name: str) -> None:
    """`igw` takes each command line with the settings of the environment files, which are all its own."""
    found, _ = command(unit)
    assert found == name
    assert set(environment(unit)) <= variables()


def test_what_there_is() -> None:
    """The five units, what renews their certificates, and all environment files, are used."""
    assert set(UNITS) == {
        f"igw-{name}.service" for name in ("collector", "envoy", "extauth", "extproc", "xds")
    }
    assert [path.name for path in FOLDER.glob("*.timer")] == ["igw-certs@.timer"]
    used = {Path(file).name for unit in ALL for file in values(unit, "EnvironmentFile")}
    assert used == {path.name for path in FOLDER.glob("*.env")}


def test_addresses() -> None:
    """Envoy is told to ask where extauth and extproc of its machine listen, and they listen for it alone."""
    control_plane = command("igw-xds.service")[1]
    for name in ("extauth", "extproc"):
        parameters = command(f"igw-{name}.service")[1]
        assert control_plane[name] == f"{parameters['host']}:{parameters['port']}"
        assert parameters["host"] == "127.0.0.1"
    collector = command("igw-collector.service")[1]
    assert control_plane["usage_log"] == f"{collector['host']}:{collector['port']}"
    assert control_plane["usage_url"] == f"http://{collector['host']}:{collector['ops_port']}"
    assert control_plane["extauth_log"] == f"127.0.0.1:{command('igw-extauth.service')[1]['grpc_port']}"
    assert command("igw-envoy.service")[1]["xds"].rpartition(":")[2] == str(control_plane["port"])


def test_clients_are_served_over_https() -> None:
    """Envoys listen on 443, with certificates of the folder that is made for them; plain HTTP is off, its port 80."""
    parameters = command("igw-xds.service")[1]
    assert (parameters["https"], parameters["listen"]) == ("0.0.0.0:443", "0.0.0.0:80")
    assert parameters["plain_http"] == "off"
    assert (parameters["endpoint_scheme"], parameters["endpoint_port"]) == ("https", None)
    assert str(parameters["certificates"]) in {place for _, place, *_ in entries("tmpfiles")}


@pytest.mark.parametrize("unit", UNITS)
def test_a_process_shows_its_own_certificate(unit: str) -> None:
    """Files of its role, followed where they lie, by the one group that reads their key; nothing is said in clear."""
    role, parameters = ROLES[unit], command(unit)[1]
    assert [parameters[option] for option in ("tls_cert", "tls_key", "tls_ca")] == [
        Path("/etc/igw/tls", role, file) for file in ("tls.crt", "tls.key", "ca.crt")
    ]
    assert parameters["trust_domain"] == "igw.internal"
    assert not parameters.get("in_clear")
    assert value(unit, "SupplementaryGroups") == f"igw-tls-{role}"


def test_the_api_has_tls() -> None:
    """It shows the certificate of its own process, which is for the machine's name."""
    parameters = command("igw-xds.service")[1]
    assert parameters["api_certificate"] == parameters["tls_cert"].parent
    assert command(RENEWAL, "xds")[1]["name"] == ["host-1", "localhost"]


def test_what_has_no_tls_stays_on_the_machine() -> None:
    """Operations ports and Envoy's metrics, until a setting names another address."""
    for unit in UNITS:
        parameters = command(unit)[1]
        name = "stats_host" if unit == "igw-envoy.service" else "ops_host"
        assert ip_address(parameters[name]).is_loopback


@pytest.mark.parametrize("role", sorted(ROLES.values()))
def test_certificates_are_renewed(role: str) -> None:
    """The timer's unit puts a pair where the unit of that role reads it, in time; its zone is the Envoy's."""
    name, parameters = command(RENEWAL, role)
    assert name == "certs issue"
    [unit] = [unit for unit, held in ROLES.items() if held == role]
    assert parameters["out"] == command(unit)[1]["tls_cert"].parent
    assert parameters["role"] == role
    assert parameters["zone"] == command("igw-envoy.service")[1]["zone"]
    assert 0 < parameters["renew_before"] < parameters["days"]
    assert value(RENEWAL, "ReadWritePaths") == str(parameters["out"].parent)


def entries(name: str) -> list[list[str]]:
    """Give the lines of `igw-<name>.conf`, word by word."""
    lines = (FOLDER / f"igw-{name}.conf").read_text(encoding="utf-8").splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to groups")
@analyzed
def test_who_reads_a_key(tmp_path: Path) -> None:
    """Folders and groups are made by systemd's own programs; a key put there is its role's and root's to read."""
    for name in ("sysusers", "tmpfiles"):
        place = tmp_path / "etc" / f"{name}.d" / "igw.conf"
        place.parent.mkdir(parents=True)
        place.write_bytes((FOLDER / f"igw-{name}.conf").read_bytes())
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", "igw.conf"], check=True, capture_output=True)
    create = ["systemd-tmpfiles", f"--root={tmp_path}", "--create", "igw.conf"]
    subprocess.run(create, check=True)
    groups = (tmp_path / "etc" / "group").read_text(encoding="utf-8").splitlines()
    numbers = {line.split(":")[0]: int(line.split(":")[2]) for line in groups}
    keys = {f"igw-tls-{role}": tmp_path / "etc/igw/tls" / role / "tls.key" for role in ROLES.values()}
    host = tmp_path / "etc/igw/certificates/chat/tls.key"
    host.parent.mkdir(mode=0o700)
    for key in (*keys.values(), host):
        key.touch(mode=0o600)
    subprocess.run(create, check=True)
    for group, key in (*keys.items(), ("igw-tls-xds", host)):
        assert (key.parent.stat().st_mode & 0o777, key.parent.stat().st_gid) == (0o750, numbers[group])
        assert (key.stat().st_mode & 0o777, key.stat().st_gid) == (0o640, numbers[group])


def test_what_is_commented_out_is_real() -> None:
    """A setting that is there to be taken is one of `igw`."""
    lines = [line for path in FOLDER.glob("*.env") for line in path.read_text(encoding="utf-8").splitlines()]
    offered = {line[1:].partition("=")[0] for line in lines if line.startswith("#IGW_")}
    assert "IGW_CACHE_URL" in offered
    assert offered <= variables()


def test_folders() -> None:
    """The state folder is one that the unit makes, for its user alone; the token is a credential."""
    unit, parameters = "igw-xds.service", command("igw-xds.service")[1]
    assert str(parameters["state_dir"]) == f"/var/lib/{value(unit, 'StateDirectory')}"
    assert value(unit, "StateDirectoryMode") == "0700"
    # %d is the folder with the service's credentials.
    assert str(parameters["admin_token_file"]) == "%d/" + value(unit, "LoadCredential").partition(":")[0]


def test_an_envoys_folder() -> None:
    """The unit makes what Envoy keeps its configuration in, for its user alone."""
    unit, parameters = "igw-envoy.service", command("igw-envoy.service")[1]
    assert str(parameters["state_dir"]) == f"/var/lib/{value(unit, 'StateDirectory')}"
    assert value(unit, "StateDirectoryMode") == "0700"


def test_an_envoy_has_time_to_drain() -> None:
    """It is not killed before its drain and its own end are over, and what it asks is stopped after it."""
    unit, parameters = "igw-envoy.service", command("igw-envoy.service")[1]
    assert int(value(unit, "TimeoutStopSec")) > parameters["drain_seconds"] + 5
    after = {name for names in values(unit, "After") for name in names.split()}
    assert {"igw-extauth.service", "igw-extproc.service"} <= after
    assert value(unit, "KillMode") == "mixed"


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_has_few_rights(unit: str) -> None:
    """No user of its own making, no rights to gain but Envoy's to its ports, no code made while it runs."""
    expected = {
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "CapabilityBoundingSet": LOW_PORTS if unit == "igw-envoy.service" else "",
        "AmbientCapabilities": LOW_PORTS if unit == "igw-envoy.service" else "",
        "MemoryDenyWriteExecute": "yes",
    }
    assert {name: value(unit, name) for name in expected} == expected
    assert int(value(unit, "LimitNOFILE")) >= 65536
    assert value(unit, "Restart") == "always"
