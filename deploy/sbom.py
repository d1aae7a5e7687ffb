"""The bill of materials of an image, in CycloneDX's JSON: written inside it while it is built, of what is there then.

Python packages of the venv with what needs what, Envoy where it is, the base image's Debian packages and Python itself.
What writes it (requirements-build.lock) stays out of the image. No time of day is in it: two builds write the same.
"""

import argparse
import hashlib
import platform
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ENVOY = Path("/usr/local/bin/envoy")
DPKG = Path("/var/lib/dpkg/info")
DPKG_FIELDS = ("db:Status-Abbrev", "Package", "Version", "Architecture", "source:Package")
ABOUT = {"doc", "man", "info", "locale", "lintian", "doc-base"}
"""Folders of what is told about a package: slim base images are without most of it."""
LONGEST_LICENCE = 200
"""Characters: some packages put a licence's whole text where its name should be."""

Needs = Mapping[NormalizedName, set[NormalizedName]]


def python_packages(found: Iterable[Distribution]) -> list[Component]:
    """Give a component for each distribution; two in one path would be two."""
    return [_package(each) for each in found]


def _package(distribution: Distribution) -> Component:
    name = canonicalize_name(distribution.metadata["Name"])
    return Component(
        type=ComponentType.LIBRARY,
        name=distribution.metadata["Name"],
        version=distribution.version,
        description=next(iter(_told(distribution, "Summary")), None),
        licenses=_licences(distribution),
        purl=PackageURL("pypi", name=name, version=distribution.version),
        bom_ref=f"pkg:pypi/{name}",
    )


def _told(distribution: Distribution, name: str) -> list[str]:
    return distribution.metadata.get_all(name, []) or []


def _licences(distribution: Distribution) -> list[License]:
    """Give what its metadata declare: an expression, else a short name, else the last word of a classifier."""
    classified = [each for each in _told(distribution, "Classifier") if each.startswith("License ::")]
    candidates = [
        *_told(distribution, "License-Expression"),
        *_told(distribution, "License"),
        *(each.split(" :: ")[-1] for each in classified),
    ]
    usable = [each for each in candidates if each and "\n" not in each and len(each) <= LONGEST_LICENCE]
    return [LicenseFactory().make_from_string(each) for each in usable[:1]]


def needs(found: Sequence[Distribution]) -> Needs:
    """Give what each distribution needs of the others, for this Python, and with the extras that others ask of it."""
    asked: dict[NormalizedName, set[str]] = defaultdict(set)
    every = [(_name(each), [Requirement(line) for line in each.requires or ()]) for each in found]
    for _, requirements in every:
        for requirement in requirements:
            if _holds(requirement, set()):
                asked[canonicalize_name(requirement.name)] |= requirement.extras
    here = {name for name, _ in every}
    return {
        name: {canonicalize_name(each.name) for each in requirements if _holds(each, asked[name])} & here
        for name, requirements in every
    }


def _name(distribution: Distribution) -> NormalizedName:
    return canonicalize_name(distribution.metadata["Name"])


def _holds(requirement: Requirement, extras: set[str]) -> bool:
    return requirement.marker is None or any(
        requirement.marker.evaluate({"extra": each}) for each in {"", *extras}
    )


def envoy(told: str, digest: str) -> Component:
    """Give Envoy's component by what `envoy --version` says and the SHA-256 of the program, in hex."""
    found = re.search(r"version: [0-9a-f]+/([\d.]+)/", told)
    if found is None:
        raise ValueError(f"not what Envoy says of itself: {told!r}")
    version = found[1]
    return Component(
        type=ComponentType.APPLICATION,
        group="envoyproxy",
        name="envoy",
        version=version,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        licenses=[LicenseFactory().make_with_id("Apache-2.0")],
        purl=PackageURL("github", namespace="envoyproxy", name="envoy", version=f"v{version}"),
        cpe=f"cpe:2.3:a:envoyproxy:envoy:{version}:*:*:*:*:*:*:*",
        bom_ref="envoy",
    )


def python(version: str) -> Component:
    """Give the interpreter's component."""
    return Component(
        type=ComponentType.PLATFORM,
        name="python",
        version=version,
        licenses=[LicenseFactory().make_with_id("Python-2.0")],
        purl=PackageURL("generic", name="python", version=version),
        cpe=f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
        bom_ref="python",
    )


def debian(listed: str, release: Mapping[str, str], gone: Iterable[str] = ()) -> Iterator[Component]:
    """Give the installed packages of a list with the fields `DPKG_FIELDS`, but those whose files are `gone`."""
    for line in listed.splitlines():
        status, name, version, architecture, source = line.split("\t")
        if not status.startswith("ii") or name in gone:
            continue
        qualifiers = {"arch": architecture, "distro": f"{release['ID']}-{release.get('VERSION_ID', '')}"}
        qualifiers |= {"upstream": source} if source != name else {}
        yield Component(
            name=name,
            version=version,
            purl=PackageURL("deb", release["ID"], name, version, qualifiers),
            bom_ref=f"pkg:deb/{name}:{architecture}",
        )


def bill(image: str, version: str, components: Sequence[Component], needed: Needs) -> str:
    """Give the bill of an image as JSON."""
    bom = Bom(components=components)
    bom.metadata.component = root = Component(
        type=ComponentType.CONTAINER, name=image, version=version, bom_ref="image"
    )
    bom.metadata.timestamp = None  # type: ignore[assignment] # as cyclonedx-py does for bills that are the same each time
    bom.metadata.properties.add(Property(name="cdx:reproducible", value="true"))
    listed = sorted(str(each.purl) for each in components)
    bom.serial_number = uuid5(NAMESPACE_URL, repr((image, version, listed)))
    bom.register_dependency(root, components)
    packages = {each.purl.name: each for each in components if each.purl and each.purl.type == "pypi"}
    for name, others in needed.items():
        bom.register_dependency(packages[name], [packages[other] for other in others])
    return JsonV1Dot6(bom).output_as_string(indent=1)


def _release() -> Mapping[str, str]:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def _base() -> Iterator[Component]:
    """Give what the base image brought, as its own database of packages has it; nothing where there is none."""
    if not DPKG.is_dir():
        return
    fields = "\\t".join(f"${{{field}}}" for field in DPKG_FIELDS)
    listed = subprocess.run(
        ["/usr/bin/dpkg-query", "--show", "--showformat", f"{fields}\\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    yield from debian(listed, _release(), set(_removed()))


def _removed() -> Iterator[str]:
    """Give the packages whose programs and modules the image's own steps took out, all of them."""
    for path in DPKG.glob("*.list"):
        listed = [Path(line) for line in path.read_text(encoding="utf-8").splitlines()]
        files = [each for each in listed if not each.is_dir() and not ABOUT & set(each.parts)]
        if files and not any(each.exists() for each in files):
            yield path.stem.partition(":")[0]


def _envoys() -> Iterator[Component]:
    if ENVOY.exists():
        told = subprocess.run([ENVOY, "--version"], capture_output=True, text=True, check=True).stdout
        yield envoy(told, hashlib.sha256(ENVOY.read_bytes()).hexdigest())


def main(arguments: Sequence[str]) -> None:
    """Write the bill of the image that this runs in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", help="its name")
    parser.add_argument("packages", help="the folder of its Python packages")
    parser.add_argument("out", type=Path)
    given = parser.parse_args(arguments)
    found = sorted(distributions(path=[given.packages]), key=_name)
    [version] = [each.version for each in found if _name(each) == "inference-gateway"]
    components = [*python_packages(found), *_envoys(), python(platform.python_version()), *_base()]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(bill(given.image, version, components, needs(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
