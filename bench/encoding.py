"""How long it takes to build and to encode a RouteConfiguration of 100 routes, with either library.

`python bench/encoding.py` prints a table; docs/decisions/0001 quotes it. Each figure is CPU time, the
best of several runs: what else the machine does only ever adds. Nothing is written.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

ROUTES = 100
SECONDS = 2.0
"""How long each figure is tried for."""


def with_xds_protos() -> tuple[Callable[[], Any], Callable[[Any], bytes]]:
    """Give how protobuf (upb) builds and encodes it."""
    from envoy.config.route.v3 import route_components_pb2 as components  # noqa: PLC0415 - its import is not measured
    from envoy.config.route.v3.route_pb2 import RouteConfiguration  # noqa: PLC0415
    from envoy.type.matcher.v3.string_pb2 import StringMatcher  # noqa: PLC0415

    def route(number: int) -> Any:
        model = components.HeaderMatcher(
            name="x-igw-model", string_match=StringMatcher(exact=f"model-{number}")
        )
        return components.Route(
            match=components.RouteMatch(prefix="/", headers=[model]),
            route=components.RouteAction(cluster=f"deployment/{number}"),
        )

    def build() -> Any:
        host = components.VirtualHost(name="all", domains=["*"], routes=[route(n) for n in range(ROUTES)])
        return RouteConfiguration(name="gateway/1", virtual_hosts=[host])

    return build, lambda message: bytes(message.SerializeToString(deterministic=True))


def with_envoy_data_plane() -> tuple[Callable[[], Any], Callable[[Any], bytes]]:
    """Give how betterproto2 builds and encodes it."""
    from envoy_data_plane.envoy.config.route import v3 as components  # noqa: PLC0415 - its import is not measured
    from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher  # noqa: PLC0415

    def route(number: int) -> Any:
        model = components.HeaderMatcher(
            name="x-igw-model", string_match=StringMatcher(exact=f"model-{number}")
        )
        return components.Route(
            match=components.RouteMatch(prefix="/", headers=[model]),
            route=components.RouteAction(cluster=f"deployment/{number}"),
        )

    def build() -> Any:
        host = components.VirtualHost(name="all", domains=["*"], routes=[route(n) for n in range(ROUTES)])
        return components.RouteConfiguration(name="gateway/1", virtual_hosts=[host])

    return build, bytes


def best(work: Callable[[], object]) -> float:
    """Give the shortest time of a piece of work, in milliseconds."""
    times: list[float] = []
    ends = time.process_time() + SECONDS
    while len(times) < 5 or time.process_time() < ends:
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times) * 1000


def main() -> None:
    """Print the table."""
    libraries = {
        "`xds-protos` (protobuf, upb)": with_xds_protos(),
        "`envoy-data-plane` (betterproto2)": with_envoy_data_plane(),
    }
    encoded = {name: encode(build()) for name, (build, encode) in libraries.items()}
    if len(set(encoded.values())) != 1:
        raise SystemExit("the libraries do not encode the same bytes")
    print(f"A RouteConfiguration of {ROUTES} routes, {len(next(iter(encoded.values())))} bytes.\n")
    print("| library | build | encode |\n|---|---|---|")
    for name, (build, encode) in libraries.items():
        print(f"| {name} | {best(build):.2f} ms | {best(partial(encode, build())):.2f} ms |")


if __name__ == "__main__":
    main()
