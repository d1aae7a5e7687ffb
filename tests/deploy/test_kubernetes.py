"""`deploy/kubernetes`: what Kubernetes or igw would refuse, and names that lead nowhere, found without a cluster."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from igw_certs.identity import Identity, Role

from tests.deploy.commands import parsed, ports, variables

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
BASE = FOLDER / "base"
REDIS = FOLDER / "redis"
OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()
"""What is promised, and the newest that is known here."""
FOREIGN = {"PodMonitor", "Certificate", "Issuer"}
"""Kinds that an operator brings: Kubernetes has no schema for them."""
ENTRYPOINTS = {"inference-gateway": (), "inference-gateway-envoy": ("envoy",)}
"""What the images put before a container's arguments, after `igw`."""
NOT_OURS = {"IGW_SERVER", "IGW_TOKEN_FILE", "IGW_CA_FILE"}
"""Variables that client commands read without an option of that name."""

ROLES = {"control-plane": Role.XDS, "envoy": Role.PROXY} | {role.value: role for role in Role}
"""What a container's certificate is for, by the container's name."""

Document = dict[str, Any]


def documents(*paths: Path) -> list[Document]:
    """Give the objects of manifest files."""
    return [document for path in paths for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


MANIFESTS = sorted(path for path in FOLDER.glob("**/*.yaml") if path.name != "kustomization.yaml")
OBJECTS = documents(*MANIFESTS)
BASE_OBJECTS = documents(*(path for path in MANIFESTS if path.parent in {BASE, REDIS}))
WORKLOADS = {
    f"{document['kind']}/{document['metadata']['name']}": document
    for document in OBJECTS
    if document["kind"] in {"StatefulSet", "Deployment", "Pod"}
}


def pod(workload: Document) -> Document:
    """Give the pod's specification."""
    found: Document = workload["spec"] if workload["kind"] == "Pod" else workload["spec"]["template"]["spec"]
    return found


def containers(workload: Document) -> list[Document]:
    """Give all containers, those that start first too."""
    return [*pod(workload).get("initContainers", []), *pod(workload)["containers"]]


def named(kind: str) -> dict[str, Document]:
    """Give the objects of a kind of the base, and of its Redis, by name."""
    return {item["metadata"]["name"]: item for item in BASE_OBJECTS if item["kind"] == kind}


def environment(container: Document) -> dict[str, str]:
    """Give a container's environment, from its ConfigMaps too."""
    maps = [named("ConfigMap")[source["configMapRef"]["name"]] for source in container.get("envFrom", [])]
    own = {entry["name"]: entry["value"] for entry in container.get("env", [])}
    return {**{name: value for found in maps for name, value in found["data"].items()}, **own}


CONTAINERS = {
    f"{name}/{container['name']}": (workload, container)
    for name, workload in WORKLOADS.items()
    for container in containers(workload)
}
OURS = {name: found for name, found in CONTAINERS.items() if found[1]["image"] in ENTRYPOINTS}
"""Those that run `igw`."""


def command(container: Document) -> tuple[str, Mapping[str, Any]]:
    """Give what `igw` makes of a container's arguments."""
    entrypoint = ENTRYPOINTS[container["image"].rpartition("/")[2].partition(":")[0]]
    return parsed([*entrypoint, *container["args"]], environment(container))


def test_what_there_is() -> None:
    """Control plane, collector and Envoy with both of its sidecars are among what the other tests look at."""
    assert {name.split("/", 1)[1] for name in OURS} == {
        "control-plane/control-plane",
        "collector/collector",
        "envoy/extauth",
        "envoy/extproc",
        "envoy/envoy",
    }


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_schemas(path: Path, version: str) -> None:
    """Every object is one that Kubernetes knows, without a field that it does not; its own kinds only."""
    for document in documents(path):
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in FOLDER.glob("*/kustomization.yaml")))
def test_kustomizations_name_every_file(name: str) -> None:
    """Each manifest beside a kustomization is one of its resources, and each of those is there."""
    folder = FOLDER / name
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    resources = set(kustomization.get("resources", []))
    beside = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert {resource for resource in resources if resource.endswith(".yaml")} == beside
    others = {*resources - beside, *kustomization.get("components", [])}
    assert all((folder / other / "kustomization.yaml").is_file() for other in others)


needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")


def built(folder: Path) -> dict[tuple[str, str], Document]:
    """Give the objects that kubectl makes of a kustomization, by kind and name."""
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    return {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(done.stdout)}


@needs_kubectl
def test_kubectl_builds_the_overlay() -> None:
    """What kubectl makes of the example is valid, has the images and settings of the overlay, and no number of pods."""
    found = built(FOLDER / "overlay-example")
    for document in found.values():
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, NEWEST, strict=True)
    envoy = found["Deployment", "envoy"]
    assert "replicas" not in envoy["spec"]
    assert [container["image"] for container in containers(envoy)] == [
        "registry.example.com/inference-gateway:0.1.0",
        "registry.example.com/inference-gateway:0.1.0",
        "registry.example.com/inference-gateway-envoy:0.1.0",
    ]
    assert found["ConfigMap", "control-plane"]["data"]["IGW_DOMAIN"] == "gw.my-company.example"
    check_sharing(envoy, found["Service", "redis"])
    assert {item["metadata"].get("namespace", "inference-gateway") for item in found.values()} == {
        "inference-gateway"
    }


@needs_kubectl
def test_an_overlays_zone_and_redirect(tmp_path: Path) -> None:
    """The proxies' certificate follows the zone of the settings; with the component, 80 leads to what redirects."""
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    folder = tmp_path / "kubernetes" / "overlay-example"
    own = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    own["components"].append("../plain-http")
    named_settings = {"name": "settings", "namespace": "inference-gateway"}
    zone = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named_settings, "data": {"IGW_ZONE": "EU-1"}}
    own["patches"].append({"patch": yaml.safe_dump(zone)})
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    found = built(folder)
    assert found["Certificate", "proxy"]["spec"]["uris"] == ["spiffe://igw.internal/igw/proxy/zone/EU-1"]
    settings = found["ConfigMap", "control-plane"]["data"]
    _, control_plane = parsed(
        OURS["StatefulSet/control-plane/control-plane"][1]["args"],
        settings | found["ConfigMap", "settings"]["data"],
    )
    assert control_plane["plain_http"] == "redirect"
    assert clients(found["Service", "envoy"], found["Deployment", "envoy"]) == {
        443: port(control_plane["https"]),
        80: port(control_plane["listen"]),
    }
    open_to_all = [
        rule["ports"] for rule in found["NetworkPolicy", "envoy"]["spec"]["ingress"] if "from" not in rule
    ]
    assert open_to_all == [[{"port": "https"}], [{"port": "http"}]]


def clients(service: Document, workload: Document) -> dict[int, int]:
    """Give where each port of a Service leads to in a workload's pods."""
    places = {port["name"]: port["containerPort"] for one in containers(workload) for port in one["ports"]}
    return {port["port"]: places[port["targetPort"]] for port in service["spec"]["ports"]}


def port(address: str) -> int:
    """Give the port of `host:port`."""
    return int(address.rpartition(":")[2])


def check_sharing(envoy: Document, service: Document) -> None:
    """With the component, extauth shares what the Service leads to, and has the secret that sharing needs."""
    extauth = containers(envoy)[0]
    name, parameters = command(extauth)
    assert name == "extauth"
    host, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    assert parameters["cache_url"] == f"redis://{host}:{port}/0"
    [mount] = [mount for mount in extauth["volumeMounts"] if mount["name"] == "auth-secret"]
    assert str(parameters["secret_file"]) == f"{mount['mountPath']}/auth-secret"
    assert ("Secret", "auth-secret") in set(references(envoy))
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert "create secret generic auth-secret --from-file=auth-secret" in guide


@pytest.mark.parametrize("name", OURS)
def test_command_lines(name: str) -> None:
    """`igw` takes the arguments and the settings of each container."""
    _, container = OURS[name]
    command(container)
    assert set(environment(container)) - variables() <= NOT_OURS


def test_a_wrong_command_line_is_found() -> None:
    """An option or a value that igw does not take fails the test above."""
    for argument in ("--no-such-option", "--port=many"):
        with pytest.raises(Exception, match=r"No such option|valid integer"):
            parsed(["xds", argument], {})
    with pytest.raises(Exception, match="valid integer"):
        parsed(["extproc"], {"IGW_MAX_BODY_BYTES": "16MiB"})


def listened(name: str) -> set[int]:
    """Give the ports that a container's command listens on; an Envoy's for clients is the control plane's to say."""
    _, container = OURS[name]
    found, parameters = command(container)
    if found != "envoy":
        return ports(parameters)
    _, control_plane = OURS["StatefulSet/control-plane/control-plane"]
    return {*ports(parameters), port(command(control_plane)[1]["https"])}


@pytest.mark.parametrize("name", OURS)
def test_ports(name: str) -> None:
    """Each port of a container is one that its command listens on, its name the pod's own; probes use those names."""
    workload, container = OURS[name]
    declared = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert set(declared.values()) <= listened(name)
    every = [port["name"] for other in containers(workload) for port in other.get("ports", [])]
    assert len(every) == len(set(every))
    probes = [
        container[probe]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if probe in container
    ]
    assert probes
    assert {probe["httpGet"]["port"] for probe in probes} <= set(declared)


def test_addresses() -> None:
    """What is asked over the network listens on it, and what Envoy is told of is where it runs: beside Envoy."""
    _, control_plane = command(OURS["StatefulSet/control-plane/control-plane"][1])
    _, extauth = command(OURS["Deployment/envoy/extauth"][1])
    _, extproc = command(OURS["Deployment/envoy/extproc"][1])
    _, envoy = command(OURS["Deployment/envoy/envoy"][1])
    assert control_plane["extauth"] == f"127.0.0.1:{extauth['port']}"
    assert control_plane["extauth_log"] == f"127.0.0.1:{extauth['grpc_port']}"
    assert control_plane["extproc"] == f"127.0.0.1:{extproc['port']}"
    _, collector = command(OURS["StatefulSet/collector/collector"][1])
    assert control_plane["usage_log"] == f"collector:{collector['port']}"
    assert control_plane["usage_url"] == f"http://collector:{collector['ops_port']}"
    assert control_plane["max_body_bytes"] == extproc["max_body_bytes"]
    assert [one["host"] for one in (control_plane, collector)] == ["0.0.0.0"] * 2
    assert all(ip_address(one["host"]).is_loopback for one in (extauth, extproc))  # for the pod alone
    assert {one["ops_host"] for one in (control_plane, collector, extauth, extproc)} == {"0.0.0.0"}
    assert envoy["stats_host"] == "0.0.0.0"
    assert control_plane["zone"] == envoy["zone"]
    service, _, port = envoy["xds"].partition(":")
    assert int(port) in {entry["port"] for entry in named("Service")[service]["spec"]["ports"]}
    assert int(port) == control_plane["port"]


def test_services_and_policies_lead_somewhere() -> None:
    """Every selector finds a workload of the base, and every named port is one of its."""
    labels = {
        name: (workload["spec"]["template"]["metadata"]["labels"], port_names(workload))
        for name, workload in WORKLOADS.items()
        if workload["kind"] != "Pod"
    }

    def selected(selector: Mapping[str, str]) -> set[str]:
        found = [names for own, names in labels.values() if selector.items() <= own.items()]
        assert found, selector
        return set.union(*found)

    for service in named("Service").values():
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= selected(
            service["spec"]["selector"]
        )
    for policy in named("NetworkPolicy").values():
        open_ports = {p["port"] for rule in policy["spec"].get("ingress", []) for p in rule["ports"]}
        assert open_ports <= selected(policy["spec"]["podSelector"].get("matchLabels", {}))
    for budget in named("PodDisruptionBudget").values():
        selected(budget["spec"]["selector"]["matchLabels"])


def port_names(workload: Document) -> set[str]:
    """Give the names of a workload's ports."""
    return {port["name"] for container in containers(workload) for port in container.get("ports", [])}


def test_policies_close_what_is_for_the_pod_alone() -> None:
    """Nothing but Envoys reaches xDS; nothing of a data plane's pod but clients' and metrics' ports is open."""
    policies = named("NetworkPolicy")
    assert policies["nobody"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    rules = [
        (rule.get("from"), {p["port"] for p in rule["ports"]})
        for rule in policies["control-plane"]["spec"]["ingress"]
    ]
    assert [source for source, found in rules if "xds" in found] == [
        [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "envoy"}}}]
    ]
    assert all(source for source, _ in rules)
    rules = [
        (rule.get("from"), {p["port"] for p in rule["ports"]})
        for rule in policies["envoy"]["spec"]["ingress"]
    ]
    assert [found for source, found in rules if not source] == [{"https"}]
    assert set.union(*(found for source, found in rules if source)) == {"stats", "auth-ops", "proc-ops"}


def test_what_is_shared_is_extauths_alone() -> None:
    """Redis has no password: the pods with extauth reach it, and nobody else."""
    [rule] = named("NetworkPolicy")["redis"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "envoy"}}}]
    assert "extauth" in {container["name"] for container in containers(WORKLOADS["Deployment/envoy"])}


def test_redis_is_that_of_compose() -> None:
    """The same version, told the same."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["redis"]
    _, container = CONTAINERS["Deployment/redis/redis"]
    assert compose["image"] == f"${{IGW_REDIS_IMAGE:-{container['image']}}}"
    assert compose["command"] == container["args"]


def test_metrics_are_read_from_ports_that_are_there() -> None:
    """The PodMonitor's ports are those of pods; each container of ours has one of them, as the job alerts know."""
    [monitor] = [item for item in OBJECTS if item["kind"] == "PodMonitor"]
    endpoints = monitor["spec"]["podMetricsEndpoints"]
    read = {endpoint["port"] for endpoint in endpoints}
    jobs = {rule["replacement"] for endpoint in endpoints for rule in endpoint["relabelings"]}
    alerts = (ROOT / "deploy" / "compose" / "alerts.yml").read_text(encoding="utf-8")
    assert set(re.findall(r'job="([a-z-]+)"', alerts)) <= jobs
    assert jobs == {container["name"] for _, container in OURS.values()}
    for _, container in OURS.values():
        assert len(read & {port["name"] for port in container["ports"]}) == 1
    assert read <= set.union(*(port_names(workload) for workload in WORKLOADS.values()))


@pytest.mark.parametrize("name", CONTAINERS)
def test_rights(name: str) -> None:
    """No container runs as root, gains rights, writes to its image, or may use all memory of its node."""
    workload, container = CONTAINERS[name]
    of_pod, own = pod(workload)["securityContext"], container["securityContext"]
    assert of_pod["runAsNonRoot"] is True
    assert (of_pod["runAsUser"], of_pod["runAsGroup"]) == (10001, 10001)
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]
    assert pod(workload)["automountServiceAccountToken"] is False


def references(value: object) -> Iterator[tuple[str, str]]:
    """Give the ConfigMaps, Secrets, claims and accounts that something names."""
    match value:
        case (
            {"configMapRef": {"name": name}}
            | {"configMap": {"name": name}}
            | {"configMapKeyRef": {"name": name}}
        ):
            yield "ConfigMap", name
        case (
            {"secretName": name}
            | {"secret": {"name": name}}
            | {"secretRef": {"name": name}}
            | {"secretKeyRef": {"name": name}}
        ):
            yield "Secret", name
        case {"claimName": name}:
            yield "PersistentVolumeClaim", name
        case {"serviceAccountName": account, **rest}:
            yield "ServiceAccount", account
            yield from references(rest)
            return
        case _:
            pass
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from references(child)


def test_what_is_named_is_there() -> None:
    """ConfigMaps and accounts are in the base, claims the StatefulSet's, Secrets cert-manager's or the guide's."""
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    there = {(kind, name) for kind in ("ConfigMap", "ServiceAccount") for name in named(kind)}
    there |= {("Secret", name) for name in re.findall(r"create secret generic ([a-z-]+) ", guide)}
    there |= {("Secret", certificate["spec"]["secretName"]) for certificate in CERTIFICATES.values()}
    for workload in named("StatefulSet").values():
        for claim in workload["spec"]["volumeClaimTemplates"]:
            name = f"{claim['metadata']['name']}-{workload['metadata']['name']}-0"
            there.add(("PersistentVolumeClaim", name))
    asked = {reference for workload in WORKLOADS.values() for reference in references(workload)}
    assert {kind for kind, _ in asked} == {kind for kind, _ in there}
    assert asked <= there


@pytest.mark.parametrize("name", WORKLOADS)
def test_mounts(name: str) -> None:
    """Each mount names a volume of the pod, each volume is mounted, and files named in arguments are on one.

    None is below another: what Kubernetes mounts from a ConfigMap or a Secret cannot have a place for it.
    """
    workload = WORKLOADS[name]
    claims = workload["spec"].get("volumeClaimTemplates", [])
    volumes = {volume["name"] for volume in pod(workload)["volumes"]} | {
        claim["metadata"]["name"] for claim in claims
    }
    mounts = [mount for container in containers(workload) for mount in container["volumeMounts"]]
    assert {mount["name"] for mount in mounts} == volumes
    for container in containers(workload):
        places = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert not [place for place in places if any(place.startswith(f"{other}/") for other in places)]
        text = json.dumps([container.get("args", []), container.get("env", [])])
        for file in re.findall(r"[=\"](/[a-z]+/[a-z./-]+)\"", text):
            assert any(file == place or file.startswith(f"{place}/") for place in places), file


CERTIFICATES = {
    item["metadata"]["name"]: item
    for item in documents(*(FOLDER / "cert-manager").glob("*.yaml"))
    if item["kind"] == "Certificate"
}
"""Of the component cert-manager, by name."""


@pytest.mark.parametrize("name", OURS)
def test_a_process_shows_its_own_certificate(name: str) -> None:
    """It has the Secret of its role and no other, whole, as a folder that follows renewals, readable by its group."""
    workload, container = OURS[name]
    role, (_, parameters) = ROLES[container["name"]], command(container)
    place = Path("/etc/igw/tls", role)
    assert [parameters[option] for option in ("tls_cert", "tls_key", "tls_ca")] == [
        place / file for file in ("tls.crt", "tls.key", "ca.crt")
    ]
    assert parameters["trust_domain"] == named("ConfigMap")["settings"]["data"]["IGW_TRUST_DOMAIN"]
    volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
    mounts = [mount for mount in container["volumeMounts"] if mount["mountPath"].startswith("/etc/igw/tls")]
    assert mounts == [{"name": mounts[0]["name"], "mountPath": str(place), "readOnly": True}]
    assert volumes[mounts[0]["name"]]["secret"] == {"secretName": f"tls-{role}", "defaultMode": 0o440}
    assert pod(workload)["securityContext"]["fsGroup"] == 10001


def test_nothing_is_served_in_clear() -> None:
    """No manifest says so, and the API shows the certificate of its own process."""
    for path in FOLDER.glob("**/*.yaml"):
        assert not re.search(r"in-clear|IN_CLEAR", path.read_text(encoding="utf-8")), path
    _, parameters = command(OURS["StatefulSet/control-plane/control-plane"][1])
    assert parameters["api_certificate"] == parameters["tls_cert"].parent
    assert environment(OURS["StatefulSet/control-plane/control-plane"][1])["IGW_CA_FILE"] == str(
        parameters["tls_ca"]
    )


@pytest.mark.parametrize("name", WORKLOADS)
def test_what_is_written_is_one_containers(name: str) -> None:
    """Containers of a pod run as one user, and a key may lie in /tmp: no volume that is written to is shared."""
    written = [
        mount["name"]
        for container in containers(WORKLOADS[name])
        for mount in container["volumeMounts"]
        if not mount.get("readOnly")
    ]
    assert len(written) == len(set(written))


@pytest.mark.parametrize("role", sorted({ROLES[container["name"]] for _, container in OURS.values()}))
def test_certificates_of_processes(role: Role) -> None:
    """cert-manager makes the Secret of each role, with its identity: a proxy's in the zone of the settings."""
    settings = named("ConfigMap")["settings"]["data"]
    spec = CERTIFICATES[role]["spec"]
    identity = Identity(role, settings["IGW_ZONE"] if role is Role.PROXY else "")
    assert [uri.lower() for uri in spec["uris"]] == [identity.uri(settings["IGW_TRUST_DOMAIN"])]
    assert spec["uris"][0].startswith(f"spiffe://{settings['IGW_TRUST_DOMAIN']}/igw/{role}")
    assert spec["secretName"] == f"tls-{role}"
    assert {"server auth", "client auth"} <= set(spec["usages"])
    assert spec["privateKey"]["rotationPolicy"] == "Always"
    assert spec["issuerRef"]["name"] == "inference-gateway"
    assert "isCA" not in spec


def test_the_authority_of_processes() -> None:
    """What signs them is the namespace's own authority, whose key stays when its certificate is renewed."""
    issuers = {
        item["metadata"]["name"]: item["spec"]
        for item in documents(FOLDER / "cert-manager" / "authority.yaml")
        if item["kind"] == "Issuer"
    }
    authority = CERTIFICATES["authority"]["spec"]
    assert issuers["inference-gateway"] == {"ca": {"secretName": authority["secretName"]}}
    assert issuers[authority["issuerRef"]["name"]] == {"selfSigned": {}}
    assert authority["isCA"] is True
    assert authority["privateKey"]["rotationPolicy"] == "Never"


def test_clients_are_served_over_https_alone() -> None:
    """443 leads to where Envoys listen for HTTPS, nothing to plain HTTP; addresses that the API shows are those."""
    _, parameters = command(OURS["StatefulSet/control-plane/control-plane"][1])
    service = named("Service")["envoy"]
    assert clients(service, WORKLOADS["Deployment/envoy"]) == {443: port(parameters["https"])}
    assert parameters["plain_http"] == "off"
    assert (parameters["endpoint_scheme"], parameters["endpoint_port"]) == ("https", None)


def test_certificates_of_hosts() -> None:
    """Each Secret is a folder with a pair below the one that the control plane reads; it starts without them too."""
    workload, container = OURS["StatefulSet/control-plane/control-plane"]
    _, parameters = command(container)
    [mount] = [
        one for one in container["volumeMounts"] if one["mountPath"] == str(parameters["certificates"])
    ]
    assert "subPath" not in mount
    [volume] = [one for one in pod(workload)["volumes"] if one["name"] == mount["name"]]
    [secret] = [source["secret"] for source in volume["projected"]["sources"]]
    assert volume["projected"]["defaultMode"] == 0o440
    assert secret["optional"] is True
    assert {item["key"]: item["path"] for item in secret["items"]} == {
        "tls.crt": "hosts/tls.crt",
        "tls.key": "hosts/tls.key",
    }
    assert CERTIFICATES["hosts"]["spec"]["secretName"] == secret["name"]


def test_an_envoy_can_keep_its_configuration() -> None:
    """What it keeps is in a volume of the pod's, where the image says, since the root cannot be written."""
    image = (ROOT / "envoy" / "Dockerfile").read_text(encoding="utf-8")
    [place] = re.findall(r"\bIGW_ENVOY_STATE_DIR=(\S+)", image)
    workload, container = OURS["Deployment/envoy/envoy"]
    [name] = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == place]
    [volume] = [volume for volume in pod(workload)["volumes"] if volume["name"] == name]
    assert "emptyDir" in volume
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_files_of_config_maps() -> None:
    """The roles file is in the ConfigMap that is mounted where the command looks."""
    _, container = OURS["StatefulSet/control-plane/control-plane"]
    _, parameters = command(container)
    roles = parameters["roles_file"]
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "management"]
    assert str(roles.parent) == mount["mountPath"]
    assert roles.name in named("ConfigMap")["management"]["data"]


def test_an_envoy_has_time_to_drain() -> None:
    """The pod's end leaves time for preStop, the drain and Envoy's own end."""
    workload, container = OURS["Deployment/envoy/envoy"]
    _, parameters = command(container)
    [*_, sleeps] = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod(workload)["terminationGracePeriodSeconds"] > int(sleeps) + parameters["drain_seconds"] + 5


def test_what_an_envoy_asks_outlives_it() -> None:
    """Both services are sidecars in Kubernetes' sense: started before Envoy, ended after it."""
    starts = {
        container["name"]: container.get("restartPolicy")
        for container in pod(WORKLOADS["Deployment/envoy"])["initContainers"]
    }
    assert starts == {"extauth": "Always", "extproc": "Always"}


def test_a_restart_leaves_the_key_private() -> None:
    """A volume that is the group's already is not opened to the group again: igw would refuse its key (mode 0600)."""
    for name in ("StatefulSet/control-plane", "Pod/maintenance"):
        assert pod(WORKLOADS[name])["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
