"""Any definitions that are consistent, for rules that hold of all of them."""

from typing import Any

from hypothesis import strategies as st
from igw_model.deployment import Deployment
from igw_model.gateway import Gateway

from tests.builders import deployment, gateway, static

ROUTINGS: list[dict[str, Any]] = [
    {"bodyBasedRouting": {"apiType": 1}},
    {"headerBasedRouting": {"headerName": "x-model"}},
    {"pathBasedRouting": {}},
]
MODELS = st.sampled_from(["demo/small", "demo-large"]) | st.text(
    st.characters(categories=["L", "N", "P", "S"]), min_size=4, max_size=12
)


@st.composite
def gateways(draw: st.DrawFn, number: int) -> Gateway:
    """Give any gateway with this number."""
    return gateway(
        number,
        **draw(st.sampled_from(ROUTINGS)),
        endpointConfiguration={
            "additionalDns": draw(
                st.sampled_from([[], [f"g{number}.example.com", f"G{number}.Example.com."]])
            ),
            "allowedSourceIpRanges": draw(st.sampled_from([[], ["10.0.0.0/8", "2001:db8::/32"]])),
        },
    )


@st.composite
def deployments(draw: st.DrawFn, number: int, on: int) -> Deployment:
    """Give any deployment with this number, on some of the gateways 1 to `on`."""
    ports = draw(st.lists(st.integers(1, 65535), min_size=1, max_size=3))
    backends: list[dict[str, Any]] = [
        {"staticBackend": static(*ports)},
        {"dnsBackend": {"hostname": "models.example.com", "port": 8000}},
        {"dockerBackend": {"port": 8000}},
    ]
    return deployment(
        number,
        on=draw(st.lists(st.integers(1, on), min_size=1, max_size=on, unique=True)),
        weight=draw(st.integers(0, 1000)),
        disabled=draw(st.booleans()),
        model={"name": draw(MODELS)},
        **draw(st.sampled_from(backends)),
    )


@st.composite
def definitions(draw: st.DrawFn) -> list[Gateway | Deployment]:
    """Give some gateways and some deployments on them."""
    on = draw(st.integers(1, 3))
    count = draw(st.integers(0, 5))
    return [
        *(draw(gateways(n)) for n in range(1, on + 1)),
        *(draw(deployments(n, on)) for n in range(1, count + 1)),
    ]
