"""`python -m fuzz [TARGET ...] --seconds N`: try each target so long, one after the other; status 1 when one broke.

`--keep` puts what was found to reach more into the corpora that are kept, as far as their bounds allow; `--write` puts
the longest run of each target into docs/fuzzing.md.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence

from fuzz.keep import keep
from fuzz.run import WORK, Tried, tried
from fuzz.target import FOLDER, NAMES

RESULTS = WORK / "results.jsonl"
PAGE = FOLDER.parent / "docs" / "fuzzing.md"
BEGIN, END = "<!-- what was tried -->\n", "<!-- end -->\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it."""
    options = _parser().parse_args(arguments)
    chosen = options.targets or NAMES
    if options.keep:
        for name in chosen:
            print(f"{name}: {keep(name)} inputs kept")
        return 0
    if options.write:
        _write(_longest(RESULTS.read_text(encoding="utf-8").splitlines()))
        return 0
    results = []
    for name in chosen:
        results.append(result := tried(name, options.seconds))
        _tell(result)
    return int(any(result.broke for result in results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", choices=[[], *NAMES], help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--keep", action="store_true", help="only merge what runs found into the corpora")
    parser.add_argument("--write", action="store_true", help="only write what was tried into docs/fuzzing.md")
    return parser


def _tell(result: Tried) -> None:
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result.document()) + "\n")
    print(
        f"{result.target}: {result.inputs:,} inputs in {result.seconds} s, {result.coverage} edges, "
        f"{result.begun_mb} to {result.peak_mb} MB; {result.broke or 'nothing broke'}",
        flush=True,
    )


def _longest(lines: Iterable[str]) -> list[Tried]:
    """Give the longest run of each target; of two as long, the last."""
    longest: dict[str, Tried] = {}
    for line in lines:
        result = Tried(**json.loads(line))
        if result.target in NAMES and not (
            (known := longest.get(result.target)) and known.seconds > result.seconds
        ):
            longest[result.target] = result
    return [longest[name] for name in NAMES if name in longest]


def _write(results: Iterable[Tried]) -> None:
    head = "| target | seconds | inputs tried | edges reached | memory, MB: begin, peak | broke |\n"
    head += "|---|--:|--:|--:|--:|---|\n"
    rows = [
        f"| `{one.target}` | {one.seconds} | {one.inputs:,} | {one.coverage:,} | {one.begun_mb}, {one.peak_mb} "
        f"| {'yes' if one.broke else 'no'} |\n"
        for one in results
    ]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}{head}{''.join(rows)}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
