"""Type stubs for the Envoy messages that we use: written to build/stubs from the installed xds-protos.

xds-protos ships none; protoc writes them from the descriptors in the wheel. Run by `make check`.
"""

import importlib
import re
import sys
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

UNTYPED = "from typing import Any\n\ndef __getattr__(name: str) -> Any: ...\n"
PACKAGES = ("envoy", "xds", "udpa", "validate", "google/api", "google/rpc")


def descriptors(sources: Iterable[Path], root: Path) -> FileDescriptorSet:
    """Give the descriptors of our sources' imports, and of all that those import, dependencies first."""
    found: dict[str, FileDescriptorProto] = {}

    def add(descriptor: FileDescriptor) -> None:
        if descriptor.name in found:
            return
        for dependency in descriptor.dependencies:
            add(dependency)
        proto = FileDescriptorProto()
        descriptor.CopyToProto(proto)
        found[descriptor.name] = proto

    for source in sources:
        module = importlib.import_module(".".join(source.relative_to(root).with_suffix("").parts))
        add(module.DESCRIPTOR)
    return FileDescriptorSet(file=found.values())


def main(out: Path) -> None:
    """Write the stubs: a tree of packages for mypy's path."""
    root = Path(str(files("envoy"))).parent
    sources = [path for package in PACKAGES for path in sorted((root / package).rglob("*_pb2.py"))]
    out.mkdir(parents=True, exist_ok=True)
    described = descriptors(sources, root)
    with tempfile.NamedTemporaryFile() as file:
        file.write(described.SerializeToString())
        file.flush()
        names = [proto.name for proto in described.file if not proto.name.startswith("google/protobuf/")]
        status = protoc.main(["protoc", f"--descriptor_set_in={file.name}", f"--pyi_out={out}", *names])
    if status:
        sys.exit(f"protoc failed with status {status}")
    for stub in out.rglob("*_pb2.pyi"):
        stub.write_text(strict(stub.read_text()))
        # The services beside the messages; protoc has no stubs for them.
        stub.with_name(f"{stub.stem}_grpc.pyi").write_text(UNTYPED)


def strict(stub: str) -> str:
    """Complete what protoc leaves bare: `Mapping` without its types is an error to mypy's strict mode."""
    complete = re.sub(r"\b_Mapping\b(?=[\],])", "_Mapping[str, _Any]", stub)
    return f"from typing import Any as _Any\n{complete}"


if __name__ == "__main__":
    main(Path("build/stubs"))
