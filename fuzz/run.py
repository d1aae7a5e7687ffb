"""One target tried for a time: a process under bounds, and what libFuzzer says of it at its end."""

import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fuzz.target import FOLDER, corpus, dictionary, found

WORK: Final = FOLDER.parent / "build" / "fuzz"
MEMORY_MB: Final = 512
_STUCK_SECONDS: Final = 10
"""By the clock, for what not even a signal ends; `process` bounds an input's time on the processor."""
_GRACE_SECONDS: Final = 60
_PULSE: Final = re.compile(
    r"^#(\d+)\s+(\w+).*? cov: (\d+) ft: (\d+) corp: (\d+)/\S+.* rss: (\d+)Mb", re.MULTILINE
)
_FINAL: Final = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a run."""

    target: str
    seconds: int
    inputs: int
    coverage: int
    """Edges of the code that is watched."""
    features: int
    corpus: int
    """Inputs that reach something that no other does."""
    slowest_seconds: int
    """Of one input, whole seconds."""
    begun_mb: int
    """Memory once all inputs that are kept were tried."""
    peak_mb: int
    broke: str = ""
    """The file of the input that broke something."""

    def document(self) -> Mapping[str, Any]:
        """Give it as JSON."""
        return asdict(self)


def tried(name: str, seconds: int, work: Path = WORK, broken: Path | None = None) -> Tried:
    """Try inputs of a target; `work` keeps what reaches more, `broken` what breaks it, in place of its found ones."""
    folder, log, broken = work / "corpus" / name, work / f"{name}.log", broken or found(name)
    folder.mkdir(parents=True, exist_ok=True)
    broken.mkdir(parents=True, exist_ok=True)
    before = set(broken.glob("*"))
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        status = _process(name, seconds, folder, broken, output)
    took = round(time.monotonic() - began)
    new = sorted(set(broken.glob("*")) - before)
    text = log.read_text(encoding="utf-8", errors="replace")
    return _read(name, took, text, str(new[0]) if new else f"status {status}, {log}" if status else "")


def _process(name: str, seconds: int, folder: Path, broken: Path, output: Any) -> int:
    folders = [folder, *(path for path in (corpus(name), found(name)) if path.is_dir())]
    options: dict[str, Any] = {
        "max_total_time": seconds,
        "timeout": _STUCK_SECONDS,
        "rss_limit_mb": MEMORY_MB + _inherited_mb(),
        "artifact_prefix": f"{broken}/",
        "print_final_stats": 1,
    }
    if dictionary(name).is_file():
        options["dict"] = dictionary(name)
    command = [sys.executable, "-m", "fuzz.process", name]
    command += [f"-{option}={value}" for option, value in options.items()]
    command += map(str, folders)
    return subprocess.run(
        command,
        stdout=output,
        stderr=output,
        cwd=FOLDER.parent,
        timeout=seconds + _GRACE_SECONDS,
        check=False,
    ).returncode


def _inherited_mb() -> int:
    """Give what counts as a new process's peak before it has done anything: Linux takes its starter's for it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _read(name: str, seconds: int, text: str, broke: str) -> Tried:
    pulses = [tuple(map(int, (n, cov, ft, corp, rss))) for n, _, cov, ft, corp, rss in _PULSE.findall(text)]
    begun = next((int(rss) for *_, rss in _INITED.findall(text)), 0)
    inputs, cov, features, kept, rss = pulses[-1] if pulses else (0, 0, 0, 0, 0)
    final = {key: int(value) for key, value in _FINAL.findall(text)}
    return Tried(
        target=name,
        seconds=seconds,
        inputs=final.get("number_of_executed_units", inputs),
        coverage=cov,
        features=features,
        corpus=kept,
        slowest_seconds=final.get("slowest_unit_time_sec", 0),
        begun_mb=begun,
        peak_mb=final.get("peak_rss_mb", rss),
        broke=broke,
    )


_INITED: Final = re.compile(r"^#(\d+)\s+INITED.* rss: (\d+)Mb", re.MULTILINE)
