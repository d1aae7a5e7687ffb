"""Small messages that several Envoy types share: durations, addresses, packed extensions, ADS as a source.

What is the same in thousands of resources is made once (`cache`): such a message is put into others, which copies
it, and never changed.
"""

from functools import cache

from envoy.config.core.v3 import address_pb2, config_source_pb2, extension_pb2
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message

from igw_xds.settings import HostPort


def packed(message: Message) -> any_pb2.Any:
    """Pack a message, equal messages to equal bytes."""
    box = any_pb2.Any()
    box.Pack(message, deterministic=True)
    return box


@cache
def seconds(value: float) -> duration_pb2.Duration:
    """Give a duration."""
    duration = duration_pb2.Duration()
    duration.FromMilliseconds(round(value * 1000))
    return duration


def socket_address(at: HostPort) -> address_pb2.Address:
    """Give a TCP address."""
    return address_pb2.Address(
        socket_address=address_pb2.SocketAddress(address=at.host, port_value=at.port),
    )


def extension(name: str, message: Message) -> extension_pb2.TypedExtensionConfig:
    """Give a named extension with its configuration."""
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(message))


@cache
def ads() -> config_source_pb2.ConfigSource:
    """Tell Envoy to get a resource over the aggregated stream."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3
    )
