"""A gateway of separate processes with mutual TLS between them: certificates, services, a control plane, Envoys.

Model servers, tokens and who knows them are the shared demo's. Files of certificates may be replaced meanwhile.
"""

import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from igw_certs.authority import Authority
from igw_certs.identity import Identity, Role
from igw_certs.pair import KeyPair
from igw_cli.envoy import envoy_argv, envoy_command
from igw_xds.bootstrap import Node, bootstrap
from igw_xds.resources.mutual_tls import FOLDER, secret_files
from igw_xds.settings import HostPort

from tests.ports import free_ports
from tests.real_envoy.running import START_SECONDS, Running, eventually

LOOPBACK = "127.0.0.1"
TRUST_DOMAIN = "gw.test"
ZONE = "LOCAL"
"""The demo's gateways are there."""
SERVICES = (Role.EXTAUTH, Role.EXTPROC, Role.COLLECTOR, Role.XDS)


@dataclass
class Process:
    """One of ours: its command line, where it logs, its port for operators."""

    name: str
    argv: Sequence[str]
    folder: Path
    ops: int
    running: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.running = subprocess.Popen(self.argv, stdout=log, stderr=subprocess.STDOUT)

    def wait(self) -> None:
        """Wait until it serves."""
        process = self.running
        assert process is not None
        eventually(lambda: process.poll() is not None or self._ready(), START_SECONDS)
        assert process.poll() is None, self.log()

    def end(self) -> None:
        """Kill it, and wait for its end."""
        if self.running is not None:
            self.running.kill()
            self.running.wait()

    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text()

    def metric(self, name: str, **labels: str) -> float:
        """Give a metric's value; 0 where there is none."""
        text = httpx.get(f"http://{LOOPBACK}:{self.ops}/metrics").text
        found = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        values = re.findall(rf"(?m)^{name}{re.escape('{' + found + '}') if found else ''} (\S+)", text)
        return sum(map(float, values))

    def refused(self, reason: str) -> int:
        """Give how many clients it refused for a reason."""
        return round(self.metric("igw_tls_refused_total", reason=reason))

    def _ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://{LOOPBACK}:{self.ops}/readyz").status_code == 200
        return False


@dataclass
class Certificates:
    """Files of certificates, by who has them; `authority` signs."""

    folder: Path
    authority: Authority

    def give(self, name: str, identity: Identity) -> None:
        """Issue a certificate, in place of one that is there."""
        self.put(name, self.authority.issue_identity(identity, names=["localhost"]))  # which tools look at

    def put(self, name: str, pair: KeyPair) -> None:
        """Put a certificate and its key in place as a careless operator does: one after the other, written over."""
        (self.folder / f"{name}.key").write_bytes(bytes(pair.key))
        (self.folder / f"{name}.crt").write_bytes(pair.chain)

    def trust(self, name: str, *authorities: Authority) -> None:
        """Say whose certificates somebody trusts."""
        (self.folder / f"{name}.ca").write_bytes(b"".join(one.certificate for one in authorities))

    def options(self, name: str) -> list[str]:
        """Give the options of a process that has them."""
        files = [
            part
            for kind, end in (("cert", "crt"), ("key", "key"), ("ca", "ca"))
            for part in (f"--tls-{kind}", str(self.folder / f"{name}.{end}"))
        ]
        return [*files, "--trust-domain", TRUST_DOMAIN]

    def serial(self, name: str) -> int:
        """Give the number of the certificate that lies there."""
        return x509.load_pem_x509_certificate((self.folder / f"{name}.crt").read_bytes()).serial_number

    def context(self, name: str | None) -> ssl.SSLContext:
        """Give a client that shows somebody's certificate, or none; whom it talks to it does not care."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if name is not None:
            context.load_cert_chain(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        return context


@dataclass
class Secured:
    """All of it; `ports` are those that Envoys come to."""

    demo: Running
    folder: Path
    certificates: Certificates
    ports: dict[str, int]
    services: dict[Role, Process]
    """What they are told may be changed before they are started again: `again`."""
    ingress: int
    envoy: "Launched | None" = None
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def hosts(self) -> Path:
        """Give the folder of the authority that signs for host names."""
        return self.folder / "hosts"

    @property
    def proxy(self) -> "Launched":
        """Give the Envoy, which is started last."""
        assert self.envoy is not None
        return self.envoy

    def again(self, role: Role, **options: str) -> None:
        """Kill a service and start it again, with other values of some of its options."""
        process = self.services[role]
        process.end()
        argv = list(process.argv)
        for name, value in options.items():
            option = f"--{name.replace('_', '-')}"
            if option not in argv:
                argv += [option, ""]
            argv[argv.index(option) + 1] = value
        process.argv = argv
        process.begin()
        process.wait()

    def post(
        self, content: bytes, headers: dict[str, str], path: str = "/v1/chat/completions"
    ) -> httpx.Response:
        """Send a request to the demo's gateway through our Envoy."""
        url = f"http://{LOOPBACK}:{self.ingress}{path}"
        return httpx.post(url, content=content, headers=self.demo.headers("chat", **headers), timeout=30)


@dataclass
class Launched:
    """An `igw envoy`, and where it serves clients over HTTPS."""

    https: int
    process: subprocess.Popen[bytes]
    admin: str
    log_file: Path
    id: str = "good"

    def stats(self, pattern: str) -> dict[str, int]:
        """Give those of its statistics whose names match."""
        answer = httpx.get(f"{self.admin}/stats", params={"filter": pattern, "format": "json"}).json()
        return {one["name"]: one["value"] for one in answer["stats"] if "name" in one}

    def port(self) -> int:
        return self.https

    def serials(self) -> set[int]:
        """Give the numbers of the certificates that it has for itself."""
        found = httpx.get(f"{self.admin}/certs").json()["certificates"]
        return {int(one["serial_number"], 16) for each in found for one in each["cert_chain"]}

    def trusts(self) -> set[int]:
        """Give how many authorities it trusts, for each of those that it talks to."""
        found = httpx.get(f"{self.admin}/certs").json()["certificates"]
        return {len(each["ca_cert"]) for each in found if each["ca_cert"]}

    def log(self) -> str:
        return self.log_file.read_text()


@contextlib.contextmanager
def secured(demo: Running, folder: Path) -> Iterator[Secured]:
    """Run services and a control plane, and one Envoy, all with TLS between them."""
    made = _made(demo, folder)
    try:
        for process in made.services.values():
            process.begin()
        for process in made.services.values():
            process.wait()
        made.envoy = _launched(made)
        yield made
    finally:
        for other in made.others:
            other.kill()
            other.wait()
        for process in made.services.values():
            process.end()


def _made(demo: Running, folder: Path) -> Secured:
    authority = Authority.kept(folder / "authority", TRUST_DOMAIN)
    (folder / "certificates").mkdir()
    certificates = Certificates(folder / "certificates", authority)
    for role in SERVICES:
        certificates.give(role, Identity(role))
    certificates.give("proxy", Identity(Role.PROXY, ZONE))
    for name in (*SERVICES, "proxy"):
        certificates.trust(name, authority)
    names = ("extauth", "extauth-grpc", "extproc", "collector", "xds", "ingress", "https")
    *found, o1, o2, o3, o4 = free_ports(len(names) + 4)
    ports = dict(zip(names, found, strict=True))
    secured = Secured(demo, folder, certificates, ports, {}, ports["ingress"])
    _add(secured, Role.EXTAUTH, o1, *_extauth(demo), "--grpc-port", str(ports["extauth-grpc"]))
    _add(secured, Role.EXTPROC, o2)
    _add(secured, Role.COLLECTOR, o3)
    definitions = folder / "definitions.yaml"
    definitions.write_bytes(demo.definitions.read_bytes())
    https = ("--https", f"{LOOPBACK}:{ports['https']}", "--local-authority", str(secured.hosts))
    _add(secured, Role.XDS, o4, *_xds(ports), *https, "-f", str(definitions))
    return secured


def _add(secured: Secured, role: Role, ops: int, *options: str) -> None:
    argv = [sys.executable, "-m", "igw_cli", role, "--port", str(secured.ports[role]), "--ops-port", str(ops)]
    argv += [*secured.certificates.options(role), *options]
    secured.services[role] = Process(role, argv, secured.folder, ops)


def _extauth(demo: Running) -> list[str]:
    authority = f"http://{LOOPBACK}:{demo.option('authority', '--port')}"
    return ["--workers", "2", "--coreweave-whoami-url", f"{authority}/v1beta1/auth/whoami"]


def _xds(ports: dict[str, int]) -> list[str]:
    at = {name: f"{LOOPBACK}:{port}" for name, port in ports.items()}
    options = ["--no-api", "--no-access-log", "--listen", at["ingress"], "--extauth", at["extauth"]]
    options += [
        "--extauth-log",
        at["extauth-grpc"],
        "--extproc",
        at["extproc"],
        "--usage-log",
        at["collector"],
    ]
    return options


def _launched(secured: Secured) -> Launched:
    admin, stats = free_ports(2)
    argv = [sys.executable, "-m", "igw_cli", "envoy", "--xds", f"localhost:{secured.ports['xds']}"]
    argv += ["--zone", ZONE, "--node-id", "good", "--admin-port", str(admin), "--stats-port", str(stats)]
    argv += ["--concurrency", "1", "--drain-seconds", "0", "--state-dir", str(secured.folder / "envoys")]
    argv += secured.certificates.options("proxy")
    path = secured.folder / "envoy.log"
    with path.open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
    secured.others.append(process)
    ready = f"http://{LOOPBACK}:{stats}/ready"
    eventually(lambda: process.poll() is not None or _status(ready) == 200, START_SECONDS)
    assert process.poll() is None, path.read_text()
    return Launched(secured.ports["https"], process, f"http://{LOOPBACK}:{admin}", path)


def _status(url: str) -> int | None:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url).status_code
    return None


@dataclass
class Stranger:
    """An Envoy without a launcher, whose identity or zone is not what it should be."""

    folder: Path
    process: subprocess.Popen[bytes]

    def stats(self, pattern: str) -> dict[str, int]:
        """Give those of its statistics whose names match; none before it answers."""
        with contextlib.suppress(httpx.HTTPError, OSError):
            url = f"http://{(self.folder / 'admin').read_text().strip()}/stats"
            answer = httpx.get(url, params={"filter": pattern, "format": "json"}).json()
            return {one["name"]: one["value"] for one in answer["stats"] if "name" in one}
        return {}


def stranger(secured: Secured, node: str, zone: str, pair: KeyPair | None) -> Stranger:
    """Start an Envoy that comes to the control plane with this certificate, or with none."""
    folder = secured.folder / node
    (folder / FOLDER).mkdir(parents=True)
    at = HostPort(LOOPBACK, secured.ports["xds"])
    document = bootstrap(Node(node, zone, HostPort(LOOPBACK, 0), at, trust_domain=TRUST_DOMAIN))
    if pair is None:
        _context(document).pop("tls_certificate_sds_secret_configs")
    own = pair or secured.certificates.authority.issue_identity(Identity(Role.PROXY))
    for name, text in secret_files(own.chain, own.key, secured.certificates.authority.certificate).items():
        (folder / FOLDER / name).write_text(text)
    (folder / "bootstrap.json").write_text(json.dumps(document))
    argv = envoy_argv(envoy_command(), folder / "bootstrap.json", "info", 1)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*argv, "--admin-address-path", str(folder / "admin")],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    secured.others.append(process)
    return Stranger(folder, process)


def _context(document: dict[str, Any]) -> dict[str, Any]:
    [cluster] = document["static_resources"]["clusters"]
    common: dict[str, Any] = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    return common


def said(port: int, context: ssl.SSLContext, request: bytes) -> bytes:
    """Give what a server says to a request over TLS; nothing when it hangs up."""
    try:
        with (
            socket.create_connection((LOOPBACK, port), 5) as plain,
            context.wrap_socket(plain) as secured,
        ):
            secured.sendall(request)
            return secured.recv(4096)
    except (ssl.SSLError, ConnectionError):
        return b""


def shown(port: int, context: ssl.SSLContext) -> int:
    """Give the number of the certificate that a server shows."""
    with socket.create_connection((LOOPBACK, port), 5) as plain, context.wrap_socket(plain) as secured:
        der = secured.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number
