"""`docs/deploy.md`: its commands are real, and those for backup and restore are run as they stand."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from igw_cli.management_files import roles

from tests.deploy.commands import parsed
from tests.unit.cli.test_store import KEY, fill, kept_key, names

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", GUIDE, flags=re.DOTALL | re.MULTILINE)
COMMANDS = sorted(
    {
        found.rstrip()
        for block in BLOCKS
        for found in re.findall(r"(?:^|&& |-- )(igw [^\n#'<>|]+)", block, flags=re.MULTILINE)
    }
)
SERVED = ("igw get", "igw store backup", "igw store restore")


def test_what_there_is() -> None:
    """Commands were found: a guide without any would pass everything."""
    assert all(any(command.startswith(start) for command in COMMANDS) for start in SERVED), COMMANDS


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_real(line: str) -> None:
    """`igw` takes each of them."""
    _, *arguments = shlex.split(line)
    parsed(arguments, {})


def test_files_are_there() -> None:
    """Every file of the project that a command names exists."""
    named = {name for block in BLOCKS for name in re.findall(r"\bdeploy/[a-z/.*-]+", block)}
    assert named
    for name in named:
        assert list(ROOT.glob(name.rstrip("/"))), name


def test_roles(tmp_path: Path) -> None:
    """The roles file that the guide writes is one."""
    [text] = re.findall(r'echo "(.*)" > /etc/igw/roles.yaml', GUIDE)
    path = tmp_path / "roles.yaml"
    path.write_text(text)
    roles(path)()


async def test_backup_and_restore(tmp_path: Path) -> None:
    """The first two blocks of the chapter, line by line in one shell: all there and back, and last without W&B keys."""
    assert shutil.which("bash") is not None
    chapter = GUIDE.partition("\n## Backup and restore\n")[2].partition("\n## ")[0]
    backup, restore, *_ = re.findall(r"^```sh\n(.*?)^```$", chapter, flags=re.DOTALL | re.MULTILINE)
    state = await fill(tmp_path / ".igw", 1, 2, key=KEY)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(  # noqa: ASYNC221 - nothing else is to run meanwhile
        ["bash", "-eu", "-c", backup + restore],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("backed up", "restored"))]
    assert [line.split(",")[0] for line in lines] == ["backed up 2 object(s)"] * 2 + [
        "restored 2 object(s)"
    ] * 3
    assert await names(state) == ["gateway-1", "gateway-2"]
    assert await kept_key(state) is None
    formers = sorted(state.glob("before-restore-*"))
    assert [await kept_key(folder) for folder in formers] == [KEY] * 3


def test_nothing_is_left_to_write() -> None:
    """The parts that tests and programs write have their marks, each once."""
    for name in ("faults", "images"):
        assert [GUIDE.count(f"<!-- {name}:{end} -->") for end in ("begin", "end")] == [1, 1]
