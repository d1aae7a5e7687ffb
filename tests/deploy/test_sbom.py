"""`deploy/sbom.py`, with the packages and the Envoy that are here; `tests/images` has what it writes in the images."""

import hashlib
import subprocess
import sys
from email.message import Message
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from deploy.sbom import bill, debian, envoy, needs, python, python_packages

ENVOY = Path(sys.executable).parent / "envoy"
RELEASE = {"ID": "debian", "VERSION_ID": "12"}


class Described(Distribution):
    """A distribution that is nothing but its metadata."""

    def __init__(self, name: str, *fields: tuple[str, str]) -> None:
        """Give it a name and further fields."""
        message = Message()
        for field, value in (("Name", name), ("Version", "1"), *fields):
            message[field] = value
        self._text = message.as_string()

    def read_text(self, filename: str) -> str | None:
        """Give the metadata alone."""
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: object) -> Path:
        """There is none."""
        raise FileNotFoundError(path)


def test_every_package_here_is_a_component() -> None:
    """Name and version of each, the name in the purl as PyPI spells it."""
    found = list(distributions())
    assert {(each.purl.name, each.version) for each in python_packages(found) if each.purl} == {
        (canonicalize_name(each.metadata["Name"]), each.version) for each in found
    }


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT OR Apache-2.0"), ("License", "other")], "MIT OR Apache-2.0"),
        ([("License", "Apache-2.0")], "Apache-2.0"),
        ([("License", "My own")], "My own"),
        (
            [("License", f"A text {'x' * 400}"), ("Classifier", "License :: OSI Approved :: BSD License")],
            "BSD License",
        ),
        ([("Classifier", "Typing :: Typed")], None),
    ],
)
def test_licences(fields: list[tuple[str, str]], licence: str | None) -> None:
    """An expression goes before a name, a name before a classifier; a text is no name."""
    [component] = python_packages([Described("one", *fields)])
    told = [
        getattr(each, "value", None) or getattr(each, "id", None) or each.name for each in component.licenses
    ]
    assert told == ([licence] if licence else [])


def test_what_needs_what() -> None:
    """Markers count, extras count where somebody asks for them, and what is not installed is left out."""
    found = [
        Described("One", ("Requires-Dist", "two[fast]"), ("Requires-Dist", "win; sys_platform == 'win32'")),
        Described(
            "two", ("Requires-Dist", "three; extra == 'fast'"), ("Requires-Dist", "four; extra == 'slow'")
        ),
        Described("three", ("Requires-Dist", "absent")),
        Described("four"),
        Described("win"),
    ]
    assert needs(found) == {"one": {"two"}, "two": {"three"}, "three": set(), "four": set(), "win": set()}


def test_envoy_says_what_it_is() -> None:
    """The real Envoy's version is read off what it says; scanners know it by its CPE."""
    told = subprocess.run([ENVOY, "--version"], capture_output=True, text=True, check=True).stdout
    component = envoy(told, hashlib.sha256(b"").hexdigest())
    assert f"/{component.version}/" in told
    assert component.cpe == f"cpe:2.3:a:envoyproxy:envoy:{component.version}:*:*:*:*:*:*:*"
    with pytest.raises(ValueError, match="not what Envoy says"):
        envoy("nothing of the kind", "")


def test_packages_of_the_base() -> None:
    """Only what is installed and still there; a library's source package is told, as advisories are of that."""
    listed = (
        "ii \tlibssl3\t3.0.1-1\tamd64\topenssl\n"
        "rc \tgone\t1\tamd64\tgone\n"
        "ii \tpython3-pip\t23\tall\tpython-pip\n"
        "ii \tbash\t5.2\tamd64\tbash\n"
    )
    assert [str(each.purl) for each in debian(listed, RELEASE, {"python3-pip"})] == [
        "pkg:deb/debian/libssl3@3.0.1-1?arch=amd64&distro=debian-12&upstream=openssl",
        "pkg:deb/debian/bash@5.2?arch=amd64&distro=debian-12",
    ]


def test_the_same_is_written_the_same_and_more_is_another() -> None:
    """Neither the time nor the order of what is found is in a bill; its serial number is that of its content."""
    found = [Described("one", ("Requires-Dist", "two")), Described("two")]
    components = python_packages(found)
    first = bill("some", "1", components, needs(found))
    assert bill("some", "1", python_packages(found[::-1]), needs(found[::-1])) == first
    more = bill("some", "1", [*components, python("3.11.2")], needs(found))
    assert _serial(more) != _serial(first)


def _serial(text: str) -> str:
    [line] = [line for line in text.splitlines() if '"serialNumber"' in line]
    return line
