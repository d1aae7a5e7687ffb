"""Part of `pip install` and of building the wheel: every .proto below igw_protos in, its Python modules and stubs out.

What is made lies beside its .proto, is in the wheel, and is not in git.
"""

import tempfile
from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MADE = ("*_pb2.py", "*_pb2.pyi")


class CompileError(Exception):
    """protoc refused a file; it has said why on standard error."""


class ProtobufModules(BuildHookInterface[Any]):
    """The hook that hatchling calls before it collects the files of a wheel, editable or not."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the modules anew and have the wheel contain what git ignores."""
        del version
        folder = Path(self.root, "protos")
        make(folder)
        build_data["artifacts"] += [f"/{path.relative_to(self.root)}" for path in made(folder)]


def make(folder: Path) -> None:
    """Bring the modules below a folder up to date with its .proto files. Raises CompileError."""
    with tempfile.TemporaryDirectory(dir=folder) as draft:
        compile_into(Path(draft), folder)
        fresh = {path.relative_to(draft): path for path in made(Path(draft))}
        for path in made(folder):
            if not path.is_relative_to(draft) and path.relative_to(folder) not in fresh:
                path.unlink()
        for name, path in fresh.items():
            path.replace(folder / name)


def compile_into(out: Path, folder: Path) -> None:
    """Write the modules of a folder's .proto files to another folder. Raises CompileError."""
    sources = [str(path.relative_to(folder)) for path in sorted((folder / "igw_protos").rglob("*.proto"))]
    with as_file(files("grpc_tools") / "_proto") as well_known:
        options = [f"-I{folder}", f"-I{well_known}", f"--python_out={out}", f"--pyi_out={out}"]
        if status := protoc.main(["protoc", *options, *sources]):
            raise CompileError(f"protoc ended with status {status}")


def made(folder: Path) -> Iterable[Path]:
    """Give the files below a folder that are made, not written."""
    return [path for pattern in MADE for path in folder.rglob(pattern)]
