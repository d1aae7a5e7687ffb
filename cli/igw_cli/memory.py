"""How much memory Envoy's heap may take: what an operator says, else a share of what this process may use."""

import os
from pathlib import Path
from typing import Annotated

import typer

MIB = 1024 * 1024
LEAST_MB = 32
"""Envoy itself, without clients, takes 20."""
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")

MaxHeap = Annotated[
    int | None,
    typer.Option(
        envvar="IGW_MAX_HEAP_MB",
        min=LEAST_MB,
        help="MiB of memory that Envoy's heap may grow to; near it clients are turned away (docs/edge.md)."
        " Default: a share of what the container or the machine has.",
    ),
]


def heap_bytes(max_heap_mb: int | None, share: float) -> int:
    """Give the bytes that were asked for, else this share of the container's or machine's memory."""
    if max_heap_mb is not None:
        return max_heap_mb * MIB
    return max(LEAST_MB * MIB, round(share * usable_bytes(_physical_bytes(), CGROUPS, OWN_CGROUPS)))


def usable_bytes(physical: int, cgroups: Path, own: Path) -> int:
    """Give the least of the machine's memory and the limits of the control groups that a process is in.

    `cgroups` is where they are mounted, of version 2 or 1, and `own` the process's file of them (man 7 cgroups).
    """
    texts = (_text(file).strip() for line in _text(own).splitlines() for file in _limits(cgroups, line))
    return min([physical, *(int(text) for text in texts if text.isdecimal() and int(text))])


def _limits(cgroups: Path, line: str) -> list[Path]:
    """Give the files with the limits of one line's group and of all above it; a container sees its own as the root."""
    _, controllers, path = line.split(":", 2)
    if not controllers:
        root, name = cgroups, "memory.max"
    elif "memory" in controllers.split(","):
        root, name = cgroups / "memory", "memory.limit_in_bytes"
    else:
        return []
    group = Path(path.strip("/"))
    return [root / folder / name for folder in (group, *group.parents)]


def _physical_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _text(file: Path) -> str:
    """Give what a file holds; nothing where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
