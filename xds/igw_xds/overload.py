"""What an Envoy does when it runs short of memory or has many connections. Source: Envoy, "Overload manager"."""

from envoy.config.overload.v3 import overload_pb2
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2
from envoy.extensions.resource_monitors.fixed_heap.v3 import fixed_heap_pb2
from google.protobuf.message import Message

from igw_xds.resources.messages import packed, seconds

MAX_CLIENT_CONNECTIONS = 50_000
CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"
HEAP = "envoy.resource_monitors.fixed_heap"
REFRESH_SECONDS = 0.25
LARGE_STREAM_POWER_OF_TWO = 20
"""A stream that holds 1 MiB may be cut when memory is short."""
LEAST_IDLE_SECONDS = 10

GIVE_BACK = 0.85
"""Shares of the heap: from here on free memory goes back to the system, and idle connections wait for less."""
SEND_AWAY = 0.90
"""Clients are asked to leave, and the largest HTTP/2 streams are cut."""
REFUSE = 0.95
"""A new request is 503."""
SHUT = 0.98
"""A new connection is closed at once; one of HTTP/3, be it new or not, once a packet comes on it."""


def overload_manager(heap_bytes: int | None) -> overload_pb2.OverloadManager:
    """Give the overload manager of an Envoy whose heap may have so many bytes; None: it is not looked at."""
    limit = downstream_connections_pb2.DownstreamConnectionsConfig(
        max_active_downstream_connections=MAX_CLIENT_CONNECTIONS
    )
    manager = overload_pb2.OverloadManager(resource_monitors=[_monitor(CONNECTIONS, limit)])
    if heap_bytes is not None:
        manager.MergeFrom(_by_heap(heap_bytes))
    return manager


def _by_heap(heap_bytes: int) -> overload_pb2.OverloadManager:
    """Give way step by step, so that what is under way ends while nothing new makes it worse."""
    return overload_pb2.OverloadManager(
        refresh_interval=seconds(REFRESH_SECONDS),
        resource_monitors=[_monitor(HEAP, fixed_heap_pb2.FixedHeapConfig(max_heap_size_bytes=heap_bytes))],
        buffer_factory_config=overload_pb2.BufferFactoryConfig(
            minimum_account_to_track_power_of_two=LARGE_STREAM_POWER_OF_TWO
        ),
        actions=[
            _action("shrink_heap", _above(GIVE_BACK)),
            _shorter_idleness(),
            _action("disable_http_keepalive", _above(SEND_AWAY)),
            _action("reset_high_memory_stream", _between(SEND_AWAY, SHUT)),
            _action("stop_accepting_requests", _above(REFUSE)),
        ],
        loadshed_points=[
            overload_pb2.LoadShedPoint(name=f"envoy.load_shed_points.{name}", triggers=[_above(SHUT)])
            for name in ("tcp_listener_accept", "http3_server_go_away_and_close_on_dispatch")
        ],
    )


def _shorter_idleness() -> overload_pb2.OverloadAction:
    timers = overload_pb2.ScaleTimersOverloadActionConfig(
        timer_scale_factors=[
            overload_pb2.ScaleTimersOverloadActionConfig.ScaleTimer(
                timer=overload_pb2.ScaleTimersOverloadActionConfig.HTTP_DOWNSTREAM_CONNECTION_IDLE,
                min_timeout=seconds(LEAST_IDLE_SECONDS),
            )
        ]
    )
    action = _action("reduce_timeouts", _between(GIVE_BACK, REFUSE))
    action.typed_config.CopyFrom(packed(timers))
    return action


def _monitor(name: str, config: Message) -> overload_pb2.ResourceMonitor:
    return overload_pb2.ResourceMonitor(name=name, typed_config=packed(config))


def _action(name: str, trigger: overload_pb2.Trigger) -> overload_pb2.OverloadAction:
    return overload_pb2.OverloadAction(name=f"envoy.overload_actions.{name}", triggers=[trigger])


def _above(share: float) -> overload_pb2.Trigger:
    return overload_pb2.Trigger(name=HEAP, threshold=overload_pb2.ThresholdTrigger(value=share))


def _between(first: float, last: float) -> overload_pb2.Trigger:
    scaled = overload_pb2.ScaledTrigger(scaling_threshold=first, saturation_threshold=last)
    return overload_pb2.Trigger(name=HEAP, scaled=scaled)
