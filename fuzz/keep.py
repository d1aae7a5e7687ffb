"""What runs found, merged into the corpus that is kept: by libFuzzer, smallest inputs first, within the bounds."""

import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.run import WORK
from fuzz.target import FOLDER, MOST_BYTES, MOST_FILES, corpus


def keep(name: str) -> int:
    """Add to a target's corpus what reaches more than is reached; give how many are kept."""
    kept, found = corpus(name), WORK / "corpus" / name
    kept.mkdir(parents=True, exist_ok=True)
    if not found.is_dir():
        return len(list(kept.glob("*")))
    with tempfile.TemporaryDirectory() as merged:
        _merge(name, [Path(merged), kept, found])
        here = [path.read_bytes() for path in kept.glob("*")]
        size, count = sum(map(len, here)), len(here)
        for path in sorted(Path(merged).glob("*"), key=lambda path: (path.stat().st_size, path.name)):
            content = path.read_bytes()
            if content in here:
                continue
            size, count = size + len(content), count + 1
            if size > MOST_BYTES or count > MOST_FILES:
                break
            (kept / path.name[:16]).write_bytes(content)
    return len(list(kept.glob("*")))


def _merge(name: str, folders: list[Path]) -> None:
    command = [sys.executable, "-m", "fuzz.process", name, "-merge=1", *map(str, folders)]
    subprocess.run(command, cwd=FOLDER.parent, check=True, capture_output=True)
