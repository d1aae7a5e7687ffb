"""What is in an image: its whole file system as a container sees it, and what each of its layers brought."""

import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import docker


class Entry(NamedTuple):
    """A file, folder or link: its path without the first slash, its mode, its content (nothing for all but files)."""

    path: str
    mode: int
    kind: bytes
    content: bytes

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


@contextmanager
def exported(engine: docker.DockerClient, image: str, folder: Path) -> Iterator[Path]:
    """Give a tar file of what a new container of an image holds."""
    container = engine.containers.create(image)
    file = folder / "exported.tar"
    try:
        with file.open("wb") as out:
            out.writelines(cast("Iterable[bytes]", container.export()))  # the stubs have str
        yield file
    finally:
        container.remove(v=True)
        file.unlink(missing_ok=True)


def names(file: Path) -> list[Entry]:
    """Give all entries of a tar file, without contents."""
    with tarfile.open(file) as tar:
        return [Entry(_clean(member.name), member.mode, member.type, b"") for member in tar]


def own_layers(engine: docker.DockerClient, image: str, base: str, folder: Path) -> Iterator[Entry]:
    """Give what the layers of an image hold that are not its base image's, deleted and overwritten files too."""
    first = len(engine.images.get(base).attrs["RootFS"]["Layers"])
    saved = folder / "saved.tar"
    with saved.open("wb") as out:
        out.writelines(engine.images.get(image).save())
    with tarfile.open(saved) as tar:
        for layer in _manifest(tar)["Layers"][first:]:
            yield from _entries(tar, layer)
    saved.unlink()


def _manifest(saved: tarfile.TarFile) -> dict[str, Any]:
    file = saved.extractfile("manifest.json")
    assert file is not None
    (only,) = json.load(file)
    return dict(only)


def _entries(saved: tarfile.TarFile, layer: str) -> Iterator[Entry]:
    with tarfile.open(fileobj=saved.extractfile(layer), mode="r|*") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            content = file.read() if file is not None else b""
            yield Entry(_clean(member.name), member.mode, member.type, content)


def _clean(path: str) -> str:
    return path.removeprefix("./").strip("/")
