"""What the images hold: the packages of the lock, igw, Envoy; no build tool, no secret."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.engine import BUILD_SECONDS, ROOT, Images
from tests.images.filesystem import Entry, exported, names, own_layers

pytestmark = pytest.mark.timeout(BUILD_SECONDS)

INSTALLERS = {
    "pip",
    "setuptools",
    "wheel",
    "ensurepip",
    "pkg_resources",
    "conda",
    "uv",
    "hatchling",
    "grpc_tools",
}
DEBIAN_INSTALLERS = re.compile(r"python3(\.\d+)?-(pip|setuptools|wheel|pkg-resources|venv)(-whl)?")
"""Packages that dpkg still knows, and of which the image's own steps left nothing but documents."""
BUILD_TOOLS = re.compile(
    r"(pip|pip3|pip3\.\d+|easy_install|uv|gcc|g\+\+|cc|c\+\+|cpp|clang|ld|as|ar|nm|strip|objdump"
    r"|gcc-\d+|[\w-]+-linux-gnu-(gcc|ld|as)(-\d+)?|make|cmake|ninja|git|cargo|rustc|go|node|npm|protoc|curl|wget)"
)
SECRET_NAMES = re.compile(
    r"(\.env|\.git|\.igw|\.netrc|\.pypirc|pip\.conf|store\.key|id_(rsa|ed25519)|.*\.(db|key|p12|pfx))"
)
SECRETS = {
    "private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{64}"),
    "token of GitHub": re.compile(rb"\b(ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{36}"),
    "key of AWS": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
    "token of PyPI": re.compile(rb"\bpypi-AgE[A-Za-z0-9_-]{40}"),
}
# Certificates that packages bring; others would be those of the machine that built.
PACKAGED_CERTIFICATES = {"certifi/cacert.pem", "grpc/_cython/_credentials/roots.pem"}
ADDRESS_WITH_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
BILL = "/usr/share/doc/inference-gateway/sbom.cdx.json"
LIST_PACKAGES = """
import importlib.metadata, json, site
found = importlib.metadata.distributions(path=site.getsitepackages())
print(json.dumps([[each.metadata["Name"], each.version] for each in found]))
"""


@pytest.fixture(scope="module", params=["gateway", "envoy"])
def image(request: pytest.FixtureRequest, images: Images) -> str:
    """Each image by turns."""
    return str(getattr(images, request.param))


@pytest.fixture(scope="module")
def entries(
    image: str, engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Entry]]:
    """All that a container of the image sees."""
    with exported(engine, image, tmp_path_factory.mktemp("image")) as file:
        yield names(file)


@pytest.fixture(scope="module")
def bill(image: str, engine: docker.DockerClient) -> str:
    """The bill of materials that the image has, as text."""
    return engine.containers.run(image, [BILL], entrypoint="cat", remove=True).decode()


def test_no_build_tool_is_in_the_file_system(entries: list[Entry]) -> None:
    """Neither compilers, installers nor clients of package and code hosts are there, the base image's included."""
    programs = [entry.path for entry in entries if BUILD_TOOLS.fullmatch(entry.name) and _can_run(entry)]
    packages = [
        entry.path
        for entry in entries
        if re.search(r"/(site|dist)-packages/[^/]+$|/python3\.\d+/[^/]+$", entry.path)
        and re.split(r"[-.]", entry.name)[0] in INSTALLERS
    ]
    wheels = [entry.path for entry in entries if entry.name.endswith(".whl")]
    assert (programs, packages, wheels) == ([], [], [])


def test_no_program_changes_who_runs_it(entries: list[Entry]) -> None:
    """No file has a set-user-id or set-group-id bit."""
    assert [entry.path for entry in entries if entry.kind == b"0" and entry.mode & 0o6000] == []


def test_what_runs_is_not_writable_by_the_user_that_runs_it(entries: list[Entry]) -> None:
    """Nothing below /opt/igw and /usr/local may be written by others than root."""
    files = [entry for entry in entries if entry.path.startswith(("opt/igw/", "usr/local/bin/"))]
    assert files
    assert [entry.path for entry in files if entry.kind == b"0" and entry.mode & 0o022] == []


def test_modules_are_compiled(entries: list[Entry]) -> None:
    """The root is read-only: what is not compiled in the image is compiled at each start."""
    paths = {entry.path for entry in entries}
    own = [path for path in paths if re.search(r"site-packages/igw_\w+/.*\.py$", path)]
    compiled = {re.sub(r"/([^/]+)\.py$", r"/__pycache__/\1.cpython-311.pyc", path) for path in own}
    assert own
    assert compiled <= paths


def test_no_layer_holds_a_secret(
    image: str, images: Images, engine: docker.DockerClient, tmp_path: Path
) -> None:
    """In no layer of ours, even below another, lies a key, a token, a store or a certificate of the builder."""
    found = [
        (entry.path, why)
        for entry in own_layers(engine, image, images.base, tmp_path)
        for why in _secrets(entry)
    ]
    assert found == []


def test_history_tells_no_secret(image: str, images: Images, engine: docker.DockerClient) -> None:
    """What `docker history` and `docker inspect` show names no index, no password and no certificate."""
    made = engine.images.get(image)
    told = json.dumps([made.history(), made.attrs["Config"]])
    assert not ADDRESS_WITH_PASSWORD.search(told)
    assert not re.search(r"(?i)token=|password=|secret=|PIP_INDEX_URL|PIP_CERT|SSL_CERT_FILE|\.crt\b", told)
    assert _variables(engine, image) <= {
        "PATH",
        "PYTHONUNBUFFERED",
        "PYTHONDONTWRITEBYTECODE",
        "IGW_ENVOY_STATE_DIR",  # where an Envoy's agent keeps what it accepted
        *_variables(engine, images.base),
    }


def test_labels_say_what_it_is(image: str, engine: docker.DockerClient) -> None:
    """Title, description, licence, version and commit are labels; the version is the project's."""
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in engine.images.get(image).labels.items()
        if name.startswith("org.opencontainers.image.")
    }
    assert labels["title"] == image.partition(":")[0]
    assert labels["version"] == _project()["version"]
    assert labels["licenses"] == _project()["license"]
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["revision"])
    assert labels["description"]


def test_packages_are_those_of_the_lock(image: str, engine: docker.DockerClient) -> None:
    """The venv holds what requirements-runtime.lock names for this Python, in that version, and igw: nothing else."""
    igw = (canonicalize_name(_project()["name"]), _project()["version"])
    assert _installed(image, engine) == {*_locked("requirements-runtime.lock"), igw}


def test_the_bill_is_what_scanners_read(bill: str, image: str) -> None:
    """It is CycloneDX 1.6 to the letter, of this image, and without a time of day."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    metadata = json.loads(bill)["metadata"]
    assert metadata["component"]["name"] == image.partition(":")[0]
    assert metadata["component"]["version"] == _project()["version"]
    assert "timestamp" not in metadata


def test_the_bill_names_every_python_package(bill: str, image: str, engine: docker.DockerClient) -> None:
    """What it names is what is installed, in that version; most has a licence, and something needs each."""
    listed = [each for each in json.loads(bill)["components"] if each["purl"].startswith("pkg:pypi/")]
    assert {(purl.name, purl.version) for purl in _purls(bill, "pypi")} == _installed(image, engine)
    assert sum("licenses" in each for each in listed) > 0.9 * len(listed)
    needed = {other for each in json.loads(bill)["dependencies"] for other in each.get("dependsOn", ())}
    assert {each["bom-ref"] for each in listed} <= needed


def test_the_bill_names_envoy_where_it_is(
    bill: str, image: str, images: Images, engine: docker.DockerClient
) -> None:
    """The version of the lock and the checksum of the program that is there; no Envoy in the other image."""
    found = [each for each in json.loads(bill)["components"] if each["name"] == "envoy"]
    if image != images.envoy:
        assert found == []
        return
    output = engine.containers.run(image, ["/usr/local/bin/envoy"], entrypoint="sha256sum", remove=True)
    ((_, version),) = _locked("requirements-envoy.lock")
    [envoy] = found
    assert envoy["version"] == version
    assert [each["content"] for each in envoy["hashes"]] == [output.decode().split()[0]]


def test_the_bill_names_what_the_base_brought(bill: str, image: str, engine: docker.DockerClient) -> None:
    """Debian's packages as dpkg has them, without the installers that were taken out; and the Python that runs."""
    output = engine.containers.run(
        image, ["-W", "-f", "${Package} ${Version}\n"], entrypoint="dpkg-query", remove=True
    )
    there = {(name, version) for name, version in (line.split() for line in output.decode().splitlines())}
    named = {(purl.name, purl.version) for purl in _purls(bill, "deb")}
    assert named <= there
    assert {"libc6", "openssl", "bash"} <= {name for name, _ in named}
    assert [name for name, _ in there - named if not DEBIAN_INSTALLERS.fullmatch(name)] == []
    assert not {"python3-pip", "python3-setuptools", "python3-wheel"} & {name for name, _ in named}
    [python] = _purls(bill, "generic")
    told = engine.containers.run(
        image, ["--version"], entrypoint="/opt/igw/bin/python3", remove=True
    ).decode()
    assert told.split() == ["Python", python.version]


def test_every_package_of_ours_is_there(entries: list[Entry]) -> None:
    """Each folder that pyproject.toml puts into the wheel is in the image: .dockerignore lets all of them pass."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ours = {match[1] for entry in entries if (match := re.search(r"site-packages/(igw_\w+)$", entry.path))}
    assert ours == {Path(package).name for package in packages}


def test_envoy_is_the_version_of_the_lock(images: Images, engine: docker.DockerClient) -> None:
    """Envoy runs in its image, and is what requirements-envoy.lock names; its wheel's Python package is not there."""
    output = engine.containers.run(images.envoy, ["--version"], entrypoint="envoy", remove=True).decode()
    ((_, version),) = _locked("requirements-envoy.lock")
    assert f"/{version}/" in output


def test_licences_are_there(images: Images, engine: docker.DockerClient) -> None:
    """Whoever gets an image gets the terms of what is in it: of igw, and of Envoy, which comes as a program alone."""
    for image, path in (
        (
            images.gateway,
            "/opt/igw/lib/python3.11/site-packages/inference_gateway-*.dist-info/licenses/LICENSE",
        ),
        (images.envoy, "/usr/local/share/licenses/envoy/LICENSE"),
    ):
        text = engine.containers.run(image, ["-c", f"cat {path}"], entrypoint="sh", remove=True)
        assert b"Apache License" in text
        assert b"Version 2.0" in text


def _installed(image: str, engine: docker.DockerClient) -> set[tuple[str, str]]:
    output = engine.containers.run(
        image, ["-c", LIST_PACKAGES], entrypoint="/opt/igw/bin/python3", remove=True
    )
    return {(canonicalize_name(name), version) for name, version in json.loads(output)}


def _purls(bill: str, kind: str) -> list[PackageURL]:
    purls = [PackageURL.from_string(each["purl"]) for each in json.loads(bill)["components"]]
    return [purl for purl in purls if purl.type == kind]


def _can_run(entry: Entry) -> bool:
    return entry.kind == b"2" or (entry.kind in {b"0", b"1"} and bool(entry.mode & 0o111))


def _secrets(entry: Entry) -> Iterator[str]:
    if SECRET_NAMES.fullmatch(entry.name):
        yield "name"
    for why, pattern in SECRETS.items():
        if pattern.search(entry.content):
            yield why
    if b"\n-----BEGIN CERTIFICATE-----\n" in entry.content and not _packaged(entry.path):
        yield "certificate"


def _packaged(path: str) -> bool:
    return path.partition("site-packages/")[2] in PACKAGED_CERTIFICATES


def _variables(engine: docker.DockerClient, image: str) -> set[str]:
    return {variable.split("=")[0] for variable in engine.images.get(image).attrs["Config"]["Env"] or []}


def _project() -> dict[str, str]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def _locked(lock: str) -> set[tuple[str, str]]:
    lines = re.findall(r"^([a-zA-Z0-9][^\\\n]*==[^\\\n]*)\\?$", (ROOT / lock).read_text(), re.MULTILINE)
    requirements = [Requirement(line.strip()) for line in lines]
    here = {"python_version": "3.11", "python_full_version": "3.11.2"}
    return {
        (canonicalize_name(requirement.name), str(requirement.specifier).removeprefix("=="))
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate(here)
    }
