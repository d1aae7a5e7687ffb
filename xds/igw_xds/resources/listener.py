"""The listeners that all gateways share: HTTP, HTTPS, HTTP/3.

They depend on the data plane's settings and on the certificates' names alone: no gateway, no deployment and no renewed
certificate changes them, so no change of those drains a connection.
"""

from collections.abc import Iterator, Sequence

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, extension_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf import wrappers_pb2

from igw_xds import names
from igw_xds.resources import edge, tls
from igw_xds.resources.filters import http_filters
from igw_xds.resources.messages import ads, extension, packed, seconds, socket_address
from igw_xds.resources.replies import local_replies
from igw_xds.resources.telling import TOLD_IN_A_LEASE, access_log, log_of_limited, tracing, usage_log
from igw_xds.settings import HTTPS_PORT, DataPlane, HostPort, PlainHttp

# A WSGI server reads X_Igw_Principal and X-Igw-Principal as one header, so all spellings go. Prefixes, for one regular
# expression in their place costs Envoy a twentieth of what it does for a request.
CLIENT_MAY_NOT_SEND = [f"x{a}{name}{b}" for name in ("igw", "envoy") for a in "-_" for b in "-_"]


def listeners(data_plane: DataPlane, certificates: Sequence[str] = ()) -> list[listener_pb2.Listener]:
    """Give the listeners; those with TLS are there once there is a certificate. `certificates` are their names."""
    found = []
    if data_plane.plain_http is PlainHttp.ON:
        found.append(_over_tcp(names.LISTENER, data_plane.listen, connection_manager(data_plane)))
    elif data_plane.plain_http is PlainHttp.REDIRECT:
        found.append(_over_tcp(names.LISTENER, data_plane.listen, redirecting(data_plane.https_port)))
    if data_plane.https is not None and certificates:
        found += _with_tls(data_plane, data_plane.https, certificates)
    return found


def _with_tls(
    data_plane: DataPlane, at: HostPort, certificates: Sequence[str]
) -> Iterator[listener_pb2.Listener]:
    manager = connection_manager(data_plane)
    yield _over_tcp(names.HTTPS_LISTENER, at, manager, tls.over_tls(certificates))
    if data_plane.http3:
        yield _over_quic(names.HTTP3_LISTENER, at, manager, tls.over_quic(certificates))


def _over_tcp(
    name: str,
    at: HostPort,
    manager: hcm_pb2.HttpConnectionManager,
    transport: base_pb2.TransportSocket | None = None,
) -> listener_pb2.Listener:
    chain = listener_components_pb2.FilterChain(filters=[_filter(manager)])
    if transport is not None:
        chain.transport_socket.CopyFrom(transport)
        chain.transport_socket_connect_timeout.CopyFrom(seconds(edge.HANDSHAKE_SECONDS))
    return listener_pb2.Listener(
        name=name,
        address=socket_address(at),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=wrappers_pb2.UInt32Value(value=edge.BUFFER_BYTES),
    )


def _over_quic(
    name: str, at: HostPort, manager: hcm_pb2.HttpConnectionManager, transport: base_pb2.TransportSocket
) -> listener_pb2.Listener:
    over = hcm_pb2.HttpConnectionManager()
    over.CopyFrom(manager)
    over.codec_type = hcm_pb2.HttpConnectionManager.HTTP3
    over.http3_protocol_options.CopyFrom(edge.http3())
    listener = _over_tcp(name, at, over, transport)
    listener.address.socket_address.protocol = address_pb2.SocketAddress.UDP
    listener.udp_listener_config.quic_options.CopyFrom(edge.quic())
    listener.udp_listener_config.downstream_socket_config.prefer_gro.value = True
    return listener


def _filter(manager: hcm_pb2.HttpConnectionManager) -> listener_components_pb2.Filter:
    return listener_components_pb2.Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(manager)
    )


def redirecting(port: int) -> hcm_pb2.HttpConnectionManager:
    """Give the connection manager that sends everybody to this port, over HTTPS (308: the method stays)."""
    redirect = route_components_pb2.RedirectAction(
        https_redirect=True,
        port_redirect=0 if port == HTTPS_PORT else port,  # 0: the URL names none
        response_code=route_components_pb2.RedirectAction.PERMANENT_REDIRECT,
    )
    route = route_components_pb2.Route(match=route_components_pb2.RouteMatch(prefix="/"), redirect=redirect)
    everybody = route_components_pb2.VirtualHost(name="redirect", domains=["*"], routes=[route])
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix="redirect",
        route_config=route_pb2.RouteConfiguration(name="redirect", virtual_hosts=[everybody]),
        http_filters=[
            hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(router_pb2.Router()))
        ],
        local_reply_config=local_replies(),
        stream_idle_timeout=seconds(edge.REQUEST_SECONDS),
    )
    edge.harden(manager)
    return manager


def connection_manager(data_plane: DataPlane) -> hcm_pb2.HttpConnectionManager:
    """Give the HTTP connection manager: what is cleaned before routing, scopes, filters, local replies."""
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix="ingress",
        scoped_routes=_scoped_routes(),
        http_filters=http_filters(data_plane),
        local_reply_config=local_replies(),
        early_header_mutation_extensions=[_without_internal_headers()],
        use_remote_address=wrappers_pb2.BoolValue(value=True),
        xff_num_trusted_hops=data_plane.trusted_proxies,
        stream_idle_timeout=seconds(data_plane.idle_seconds),
    )
    edge.harden(manager)
    manager.access_log.append(log_of_limited())
    # Every log is told of what goes on, too.
    manager.access_log_options.access_log_flush_interval.CopyFrom(
        seconds(data_plane.lease_seconds / TOLD_IN_A_LEASE)
    )
    if data_plane.usage_log is not None:
        manager.access_log.append(usage_log())
    if data_plane.access_log:
        manager.access_log.append(access_log())
    if data_plane.traces is not None:
        manager.tracing.CopyFrom(tracing(data_plane.trace_percent))
    return manager


def _scoped_routes() -> hcm_pb2.ScopedRoutes:
    """Find a gateway's routes by host name: the cost of a change does not grow with the number of gateways."""
    builder = hcm_pb2.ScopedRoutes.ScopeKeyBuilder
    extractor = builder.FragmentBuilder.HeaderValueExtractor(name=":authority", index=0)
    return hcm_pb2.ScopedRoutes(
        name="hosts",
        scope_key_builder=builder(fragments=[builder.FragmentBuilder(header_value_extractor=extractor)]),
        rds_config_source=ads(),
        scoped_rds=hcm_pb2.ScopedRds(scoped_rds_config_source=ads()),
    )


def _without_internal_headers() -> extension_pb2.TypedExtensionConfig:
    """Drop what only we may say, before routes are chosen and filters run."""
    remove = mutation_rules_pb2.HeaderMutation.RemoveOnMatch
    mutations = [
        mutation_rules_pb2.HeaderMutation(
            remove_on_match=remove(key_matcher=string_pb2.StringMatcher(prefix=prefix))
        )
        for prefix in CLIENT_MAY_NOT_SEND
    ]
    return extension("igw.client-headers", header_mutation_pb2.HeaderMutation(mutations=mutations))
