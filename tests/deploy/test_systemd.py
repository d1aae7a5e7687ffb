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
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.commands import parsed, variables

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = {path.name: path for path in sorted(FOLDER.glob("*.service"))}
INSTALLED = "/opt/igw/bin/igw"
EXPOSURE = 15
"""Tenths that `systemd-analyze security` may find at most: 1.5 is what a service with a network comes to."""

analyzed = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None and "CI" not in os.environ, reason="needs systemd-analyze"
)


def settings(unit: str) -> list[tuple[str, str]]:
    """Give a unit's settings in order."""
    lines = UNITS[unit].read_text(encoding="utf-8").splitlines()
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


def command(unit: str) -> tuple[str, Mapping[str, Any]]:
    """Give what `igw` makes of a unit's command line."""
    program, *arguments = shlex.split(value(unit, "ExecStart"))
    assert program == INSTALLED
    return parsed(arguments, environment(unit))


def runnable(folder: Path) -> list[Path]:
    """Give copies of the units whose program is there on this machine."""
    for name, path in UNITS.items():
        here = str(Path(sys.executable).with_name("igw"))
        (folder / name).write_text(
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
    [unit, *_] = runnable(tmp_path)
    unit.write_text(
        unit.read_text(encoding="utf-8").replace("ProtectHome=", "ProtectHouse="), encoding="utf-8"
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert "ProtectHouse" in done.stderr


@analyzed
@pytest.mark.parametrize("unit", UNITS)
def test_hardening(unit: str, tmp_path: Path) -> None:
    """`systemd-analyze security` finds little left that a unit may do."""
    runnable(tmp_path)
    arguments = ["--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(tmp_path / unit)]
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
    """The five units, and all environment files, are used."""
    assert set(UNITS) == {
        f"igw-{name}.service" for name in ("collector", "envoy", "extauth", "extproc", "xds")
    }
    used = {Path(file).name for unit in UNITS for file in values(unit, "EnvironmentFile")}
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
    """No user of its own making, no rights to gain, no code made while it runs."""
    expected = {
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "CapabilityBoundingSet": "",
        "MemoryDenyWriteExecute": "yes",
    }
    assert {name: value(unit, name) for name in expected} == expected
    assert int(value(unit, "LimitNOFILE")) >= 65536
    assert value(unit, "Restart") == "always"
