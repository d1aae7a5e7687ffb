"""A gateway: one way to authenticate, one routing strategy, a zone and DNS names.

Source of every rule: docs/inference-api.md, "Gateway".
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from igw_model.document import Choice, Few, FieldError, Many, Spec, parse
from igw_model.policy import MOST_ENTITIES
from igw_model.text import Entity, HeaderName, HostName, Identifier, Network, NonEmpty

API_TYPES = {0: "API_TYPE_UNSPECIFIED", 1: "API_TYPE_OPENAI"}
MOST_KEY_CHARACTERS = 1024


class CoreWeaveAuth(Spec):
    """Tokens are CoreWeave API access tokens."""

    kind: Literal["coreWeaveAuth"]


def _bounded(key: SecretStr) -> SecretStr:
    if len(key) > MOST_KEY_CHARACTERS:
        raise ValueError(f"must have at most {MOST_KEY_CHARACTERS} characters")
    return key


class WeightsAndBiasesAuth(Spec):
    """Tokens are W&B API keys."""

    kind: Literal["weightsAndBiasesAuth"]
    api_key: Annotated[SecretStr, AfterValidator(_bounded)] | None = None
    server_url: NonEmpty | None = None
    enable_usage_reports: bool = False
    enable_rate_limiting: bool = False
    allowed_entities: Annotated[Many[Entity], Field(max_length=MOST_ENTITIES)] = ()
    """This project's extension: only keys of these users and teams may pass; empty narrows nothing."""

    @model_validator(mode="after")
    def _key_needs_server(self) -> "WeightsAndBiasesAuth":
        if self.api_key is not None and self.server_url is None:
            raise ValueError("an apiKey needs a serverUrl")
        return self


def _api_type(value: Any) -> Any:
    return API_TYPES.get(value, str(value)) if type(value) is int else value


def _openai_only(value: str) -> str:
    if value != "API_TYPE_OPENAI":
        raise ValueError("must be API_TYPE_OPENAI")
    return value


class BodyBasedRouting(Spec):
    """The model's name is the `model` field of the JSON body."""

    kind: Literal["bodyBasedRouting"]
    api_type: Annotated[str, AfterValidator(_openai_only)]

    @model_validator(mode="before")
    @classmethod
    def _enum_number(cls, data: Any) -> Any:
        """Protobuf JSON takes an enum's number as well as its name."""
        return {key: _api_type(value) if key == "apiType" else value for key, value in data.items()}


class HeaderBasedRouting(Spec):
    """The model's name is the value of a header."""

    kind: Literal["headerBasedRouting"]
    header_name: HeaderName


class PathBasedRouting(Spec):
    """The model's name is the first segment of the path, percent-encoded."""

    kind: Literal["pathBasedRouting"]


Auth = CoreWeaveAuth | WeightsAndBiasesAuth
Routing = BodyBasedRouting | HeaderBasedRouting | PathBasedRouting


class EndpointConfiguration(Spec):
    """Further names under which a gateway is reached, and from where."""

    additional_dns: Few[HostName] = ()
    allowed_source_ip_ranges: Few[Network] = ()


def _one_zone(zones: tuple[str, ...]) -> tuple[str, ...]:
    if len(zones) != 1:
        raise ValueError("must have exactly one zone")
    return zones


class Gateway(Spec):
    """A gateway as defined; `organization_id` is whose tokens may pass."""

    id: Identifier
    name: NonEmpty
    zones: Annotated[Few[NonEmpty], AfterValidator(_one_zone)]
    organization_id: NonEmpty
    auth: Annotated[Auth, Field(discriminator="kind")]
    routing: Annotated[Routing, Field(discriminator="kind")]
    endpoint_configuration: EndpointConfiguration = EndpointConfiguration()

    @property
    def zone(self) -> str:
        """Give the zone as written; zones are compared without regard to case."""
        return self.zones[0]


_CHOICES: tuple[Choice, ...] = (
    ("auth", ("coreWeaveAuth", "weightsAndBiasesAuth"), True),
    ("routing", ("bodyBasedRouting", "headerBasedRouting", "pathBasedRouting"), True),
)


def parse_gateway(document: Any) -> Gateway | list[FieldError]:
    """Give the gateway that a flat document defines, or every rule that it breaks."""
    return parse(Gateway, document, _CHOICES)
