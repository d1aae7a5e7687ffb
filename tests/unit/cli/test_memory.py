"""How much memory Envoy's heap may take."""

from pathlib import Path

import pytest
from igw_cli.memory import MIB, heap_bytes, usable_bytes

PHYSICAL = 8192 * MIB
UNLIMITED_V1 = "9223372036854771712\n"


def group(cgroups: Path, name: str, limit: str) -> None:
    """Write a limit as the kernel shows it."""
    file = cgroups / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(limit)


@pytest.mark.parametrize(
    ("own", "limits", "usable"),
    [
        ("0::/\n", {}, PHYSICAL),
        ("0::/\n", {"memory.max": "max\n"}, PHYSICAL),
        ("0::/\n", {"memory.max": f"{512 * MIB}\n"}, 512 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{256 * MIB}\n"}, 256 * MIB),
        ("0::/a\n", {"a/memory.max": f"{2 * PHYSICAL}\n"}, PHYSICAL),
        ("4:memory:/docker/x\n0::/\n", {"memory/memory.limit_in_bytes": f"{64 * MIB}\n"}, 64 * MIB),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": UNLIMITED_V1}, PHYSICAL),
        ("4:cpu:/a\n", {"memory/a/memory.limit_in_bytes": "1\n"}, PHYSICAL),
        ("0::/../up\n", {"memory.max": "max\n"}, PHYSICAL),
    ],
)
def test_what_there_is(tmp_path: Path, own: str, limits: dict[str, str], usable: int) -> None:
    """The machine's memory, or the least limit of the control groups about the process, of version 1 or 2."""
    for name, limit in limits.items():
        group(tmp_path / "cgroups", name, limit)
    (tmp_path / "own").write_text(own)
    assert usable_bytes(PHYSICAL, tmp_path / "cgroups", tmp_path / "own") == usable


def test_where_nothing_is_known(tmp_path: Path) -> None:
    """Without control groups it is the machine's."""
    assert usable_bytes(PHYSICAL, tmp_path / "none", tmp_path / "nor this") == PHYSICAL


def test_what_an_operator_says_counts() -> None:
    """A number of MiB is taken as it is; without one there is some."""
    assert heap_bytes(100, 0.5) == 100 * MIB
    assert heap_bytes(None, 0.5) >= 32 * MIB
