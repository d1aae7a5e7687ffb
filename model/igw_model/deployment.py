"""A deployment: a model's name, where its replicas are, and its share of the traffic of its gateways.

Source of every rule: docs/inference-api.md, "Deployment". `staticBackend`, `dnsBackend`,
`dockerBackend` and their `healthCheck` are this project's extension, in the API's style.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from igw_model.document import Choice, Few, FieldError, Many, Spec, parse
from igw_model.text import (
    HostLabel,
    HostName,
    Identifier,
    IpAddress,
    ModelName,
    NonEmpty,
    Port,
    Text,
    UrlPath,
)

GPU_COUNTS = (1, 2, 4, 8, 16)
CAPACITY_CLASSES = {
    0: "CAPACITY_CLASS_UNSPECIFIED",
    1: "CAPACITY_CLASS_RESERVED",
    2: "CAPACITY_CLASS_ON_DEMAND",
}
MOST_REPLICAS = 4_294_967_295
"""uint32."""
MOST_OPTION_CHARACTERS = 4096


class Address(Spec):
    """Where one replica listens."""

    address: IpAddress
    port: Port


class HealthCheck(Spec):
    """How Envoy asks a replica whether it may have traffic: a GET that must answer 200."""

    path: UrlPath = "/health"


class StaticBackend(Spec):
    """Replicas at known addresses."""

    kind: Literal["staticBackend"]
    endpoints: Annotated[Many[Address], Field(min_length=1, max_length=1000)]
    health_check: HealthCheck = HealthCheck()


class DnsBackend(Spec):
    """Replicas behind a name: every address that it resolves to is one."""

    kind: Literal["dnsBackend"]
    hostname: HostName
    port: Port
    health_check: HealthCheck = HealthCheck()


class DockerBackend(Spec):
    """Replicas in containers: every running one that the label `igw.deployment` gives the deployment's name.

    `network` is the Docker network at which they are reached (or its name in their Compose project); without it they
    must be on one alone.
    """

    kind: Literal["dockerBackend"]
    port: Port
    network: NonEmpty | None = None
    health_check: HealthCheck = HealthCheck()


Backend = StaticBackend | DnsBackend | DockerBackend
BACKENDS = ("staticBackend", "dnsBackend", "dockerBackend")
"""Their names, of which a deployment has one or none."""


def _names(options: Mapping[str, str]) -> Mapping[str, str]:
    if any(len(name) > MOST_OPTION_CHARACTERS for name in options):
        raise ValueError(f"must have names of at most {MOST_OPTION_CHARACTERS} characters")
    return options


Options = Annotated[
    Mapping[str, Annotated[str, Field(max_length=MOST_OPTION_CHARACTERS)]],
    Field(max_length=100),
    AfterValidator(_names),
]


class Runtime(Spec):
    """What serves the model."""

    engine: NonEmpty
    version: Text = ""
    engine_config: Options = {}  # noqa: RUF012 - the type says Mapping, behind its rules
    engine_env: Options = {}  # noqa: RUF012


def _gpu_count(count: int) -> int:
    if count not in GPU_COUNTS:
        raise ValueError("must be one of 1, 2, 4, 8, 16")
    return count


class Resources(Spec):
    """What a replica runs on."""

    instance_type: NonEmpty
    gpu_count: Annotated[int, AfterValidator(_gpu_count)]


class Model(Spec):
    """The name that clients ask for, and where the weights are."""

    name: ModelName
    bucket: Text = ""
    path: Text = ""


CapacityClass = Literal["CAPACITY_CLASS_RESERVED", "CAPACITY_CLASS_ON_DEMAND"]


class Autoscaling(Spec):
    """How many replicas there may be."""

    min: Annotated[int, Field(ge=1, le=MOST_REPLICAS)]
    max: Annotated[int, Field(ge=1, le=MOST_REPLICAS)]
    priority: Annotated[int, Field(ge=0, le=1000)] = 0
    concurrency: Annotated[int, Field(ge=1, le=MOST_REPLICAS)] | None = None
    capacity_classes: Few[CapacityClass] = ()

    @field_validator("max")
    @classmethod
    def _max_not_below_min(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("min", value):
            raise ValueError("must be at least min")
        return value


class Traffic(Spec):
    """The weight among the gateway's deployments of the same model."""

    weight: Annotated[int, Field(ge=0, le=1000)] = 0


class Deployment(Spec):
    """A deployment as defined; in files, `gateway_ids` may hold names until they are resolved."""

    id: Identifier
    name: HostLabel
    organization_id: NonEmpty
    gateway_ids: Annotated[Few[NonEmpty], Field(min_length=1)]
    model: Model
    traffic: Traffic = Traffic()
    disabled: bool = False
    backend: Annotated[Backend, Field(discriminator="kind")] | None = None
    runtime: Runtime | None = None
    resources: Resources | None = None
    autoscaling: Autoscaling | None = None


_CHOICES: tuple[Choice, ...] = (("backend", BACKENDS, False),)
_NEEDED_WITHOUT_BACKEND = ("runtime", "resources", "autoscaling", "model.bucket", "model.path")


def parse_deployment(document: Any) -> Deployment | list[FieldError]:
    """Give the deployment that a flat document defines, or every rule that it breaks."""
    parsed = parse(Deployment, document, _CHOICES)
    missing = _missing_without_backend(document) if isinstance(document, Mapping) else []
    match parsed:
        case Deployment():
            return missing or parsed
        case errors:
            return errors + missing


def _missing_without_backend(document: Mapping[str, Any]) -> list[FieldError]:
    if any(document.get(key) is not None for key in BACKENDS):
        return []
    model = document.get("model")
    inner = {f"model.{key}": value for key, value in model.items()} if isinstance(model, Mapping) else {}
    flat = {**document, **inner}
    return [
        FieldError(path, f"is required without {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}")
        for path in _NEEDED_WITHOUT_BACKEND
        if not flat.get(path)
    ]
