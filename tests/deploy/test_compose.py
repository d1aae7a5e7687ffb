"""`docs/deploy.md` and `compose.yaml` beside each other: settings, services, ports; what Prometheus and alerts name."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
CHAPTER = (
    (ROOT / "docs" / "deploy.md")
    .read_text(encoding="utf-8")
    .partition("\n## Docker Compose\n")[2]
    .partition("\n## ")[0]
)
JOBS: list[dict[str, Any]] = yaml.safe_load((COMPOSE / "prometheus.yml").read_text(encoding="utf-8"))[
    "scrape_configs"
]


def test_settings() -> None:
    """The table has each variable of compose.yaml with its default, and no other; a variable has one default."""
    used = set(re.findall(r"(?<!\$)\$\{(\w+):?-([^}]*)\}", TEXT))
    rows = re.findall(r"^\| `([A-Z_0-9]+)` \| (?:`([^`]*)`)? *\|", CHAPTER, re.MULTILINE)
    assert len(rows) == len({name for name, _ in rows})
    assert set(rows) == used
    assert not re.findall(r"(?<!\$)\$(?:\{\w+\}|[A-Za-z_])", TEXT), "a variable without a default"


def test_services_and_their_images() -> None:
    """The table of services has each of them, with its image, and the ports that are published."""
    rows = re.findall(
        r"^\| ((?:`[a-z0-9-]+`,? ?)+)[^|]*\| `([a-z/-]+)` \|[^|]*\|([^|]*)\|", CHAPTER, re.MULTILINE
    )
    told = {
        name: (image, set(re.findall(r"\d+", ports)))
        for names, image, ports in rows
        for name in re.findall(r"`([a-z0-9-]+)`", names)
    }
    assert told.keys() == SERVICES.keys()
    for name, service in SERVICES.items():
        assert re.search(r":-([^:}]+)", service["image"])[1] == told[name][0], name  # type: ignore[index]
        published = {re.search(r"PORT\w*:-(\d+)", port)[1] for port in service.get("ports", [])}  # type: ignore[index]
        if name.startswith("envoy-"):
            published = {"8443", "8453", "8080", "8090"}
        assert told[name][1] == published, name


def test_every_port_is_published_where_it_is_told() -> None:
    """This machine alone, unless somebody says otherwise: for clients, or for all that operators have."""
    for name, service in SERVICES.items():
        variable = "IGW_CLIENT_BIND" if name.startswith("envoy-") else "IGW_BIND"
        for port in service.get("ports", []):
            assert port.startswith(f"${{{variable}:-127.0.0.1}}:"), (name, port)
    assert sum(len(service.get("ports", [])) for service in SERVICES.values()) >= 10


def test_an_envoy_can_keep_its_configuration() -> None:
    """Each has a volume of its own where the image says, and a name that stays."""
    image = (ROOT / "envoy" / "Dockerfile").read_text(encoding="utf-8")
    [place] = re.findall(r"\bIGW_ENVOY_STATE_DIR=(\S+)", image)
    envoys = ["envoy-1", "envoy-2"]
    assert [SERVICES[name]["volumes"][0] for name in envoys] == [f"{name}:{place}" for name in envoys]
    assert [SERVICES[name]["hostname"] for name in envoys] == envoys
    assert yaml.safe_load(TEXT)["volumes"].keys() >= set(envoys)


def test_each_process_has_the_certificate_of_its_role() -> None:
    """Its files lie where its own role's pair is mounted, to read; that is issued, and nobody waits for it in vain."""
    issuer = SERVICES["certificates"]
    roles = {"control-plane": "xds", "envoy-1": "proxy", "envoy-2": "proxy"}
    for name in (*roles, "extauth", "extproc", "collector"):
        service, role = SERVICES[name], roles.get(name, name)
        folder, environment = f"/etc/igw/tls/{role}", service["environment"]
        assert f"tls-{role}:{folder}:ro" in service["volumes"], name
        assert f"tls-{role}:{folder}" in issuer["volumes"], name
        files = [environment[f"IGW_TLS_{file}"] for file in ("CERT", "KEY", "CA")]
        assert files == [f"{folder}/{file}" for file in ("tls.crt", "tls.key", "ca.crt")], name
        assert f"--trust-domain {environment['IGW_TRUST_DOMAIN']}\n" in issuer["command"][0], name
        assert service["depends_on"]["certificates"] == {"condition": "service_healthy"}, name
    assert SERVICES["control-plane"]["environment"]["IGW_CA_FILE"] == "/etc/igw/tls/xds/ca.crt"


def test_nothing_is_in_clear_unless_it_is_for_those_who_watch() -> None:
    """No `--in-clear`; the certificate of an Envoy is for the zone that it says it is in."""
    assert "in-clear" not in TEXT
    assert "IN_CLEAR" not in TEXT
    zone = SERVICES["certificates"]["environment"]["IGW_ZONE"]
    assert 'issue proxy --zone "$$IGW_ZONE"' in SERVICES["certificates"]["command"][0]
    assert all(zone in SERVICES[name]["command"] for name in ("envoy-1", "envoy-2"))


def test_extauth_shares_redis_with_nobody() -> None:
    """Redis has no password: its network is internal, and all of its other members are extauth's."""
    networks = yaml.safe_load(TEXT)["networks"]
    assert SERVICES["redis"]["networks"] == ["redis"]
    assert networks["redis"] == {"internal": True}
    members = {name for name, service in SERVICES.items() if "redis" in service.get("networks", [])}
    assert members == {"redis", "extauth"}
    assert "ports" not in SERVICES["redis"]
    assert SERVICES["extauth"]["environment"]["IGW_AUTH_SECRET_FILE"].startswith("/var/lib/igw/")
    assert SERVICES["extauth"]["volumes"][0] == "extauth:/var/lib/igw"


def test_envoys_tell_extauth_what_ended() -> None:
    """The control plane names the port for access logs beside the one for checks."""
    told = [argument for argument in SERVICES["control-plane"]["command"] if "extauth" in argument]
    assert told == ["--extauth=extauth:18010", "--extauth-log=extauth:18011"]


def test_images_have_versions() -> None:
    """Nothing is pulled as whatever is newest."""
    for name, service in SERVICES.items():
        assert re.fullmatch(r"\$\{\w+:-[a-z/-]+:(local|v?\d+\.\d+\.\d+)(-alpine)?\}", service["image"]), name


def test_what_prometheus_asks_for_is_there() -> None:
    """Each name that Prometheus resolves is a service or an alias in a network that it shares."""
    known = set(SERVICES)
    for service in SERVICES.values():
        match service.get("networks"):
            case {"gateway": {"aliases": aliases}}:
                known |= set(aliases)
    found = {name for job in JOBS for source in job.get("dns_sd_configs", []) for name in source["names"]}
    assert found
    assert found <= known
    assert "gateway" in SERVICES["prometheus"]["networks"]


def test_alerts_and_dashboard_name_jobs_that_there_are() -> None:
    """A `job` of a rule or a panel that nobody scrapes would never fire, and never show."""
    text = (COMPOSE / "alerts.yml").read_text(encoding="utf-8") + json.dumps(
        json.loads((COMPOSE / "grafana/dashboards/inference-gateway.json").read_text(encoding="utf-8"))
    )
    named = {job for jobs in re.findall(r'job=~?\\?"([\w|-]+)', text) for job in jobs.split("|")}
    assert {"control-plane", "extauth", "extproc", "envoy"} <= named <= {job["job_name"] for job in JOBS}


def test_image_sizes() -> None:
    """The rows that deploy/offline/images prints have been filled in."""
    block = re.search(r"<!-- images:begin -->(.*?)<!-- images:end -->", CHAPTER, re.DOTALL)
    assert block is not None
    rows = re.findall(r"^\| `([^`]+)` \| (\d+) MB \|$", block[1], re.MULTILINE)
    assert [name for name, _ in rows] == [
        "python:3.11-slim-bookworm",
        "inference-gateway",
        "inference-gateway-envoy",
    ]
