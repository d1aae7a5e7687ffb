"""The demo as one consistent set: the bundled definitions, and the replicas that they send requests to.

Ports and the organisation come in; nothing is started here.
"""

import importlib.resources
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources.abc import Traversable
from string import Template

from igw_demo.model_server import ModelSettings
from igw_demo.tokens import ORGANIZATION

SMALL = "demo/small"
LARGE = "demo-large"

REPLICAS = (
    ModelSettings("small-a", {SMALL: "small-stable"}),
    ModelSettings("small-b", {SMALL: "small-stable"}),
    ModelSettings("small-c", {SMALL: "small-canary", LARGE: "large"}),
)
"""The demo's model servers, without ports: names, and the deployment that each is of."""


def demo_replicas(ports: Sequence[int]) -> tuple[ModelSettings, ...]:
    """Give the settings of the demo's model servers on these ports, one each."""
    return tuple(replace(settings, port=port) for settings, port in zip(REPLICAS, ports, strict=True))


def demo_definitions() -> Traversable:
    """Give the bundled file: YAML documents with ``$name`` where ports and the organisation belong."""
    return importlib.resources.files("igw_demo") / "definitions" / "demo.yaml"


def render_demo(replicas: Sequence[ModelSettings], organization: str = ORGANIZATION) -> str:
    """Give the definitions as YAML text, comments kept, for these replicas and this organisation."""
    places = {}
    for settings in replicas:
        name = settings.name.replace("-", "_")
        places[f"{name}_address"] = json.dumps(settings.host)
        places[f"{name}_port"] = str(settings.port)
    text = demo_definitions().read_text(encoding="utf-8")
    return Template(text).substitute(places, organization=json.dumps(organization))
