"""Rules of single strings: host names, header names, addresses, identifiers.

Each takes the text as written and gives it back, or raises ValueError with a reason for people.
"""

import ipaddress
import re
import uuid
from typing import Annotated

from pydantic import AfterValidator, Field

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE | re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_RESERVED_HEADER = re.compile(
    r"x[-_](igw|envoy|forwarded)[-_].*|x-request-id|authorization|proxy-authorization|cookie|host|connection"
    r"|keep-alive|upgrade|expect|te|trailer|content-length|transfer-encoding",
    re.IGNORECASE,
)
"""Headers that we or Envoy set, drop or act on: what a client says there is not what the routes would see."""


def normal_host(name: str) -> str:
    """Give the one spelling of a host name: lower case, no port, no trailing dot (RFC 9110, section 4.2.3)."""
    host = name.lower()
    head, colon, port = host.rpartition(":")
    if colon and port.isdigit() and not head.endswith(":"):
        host = head
    return host.removesuffix(".")


def _host_name(text: str) -> str:
    labels = text.removesuffix(".").split(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("must be a DNS name, without scheme, port or wildcard")
    if labels[-1].isdigit():  # what ends in a number is read as an IPv4 address (url.spec.whatwg.org)
        raise ValueError("must be a DNS name, not an IP address")
    return text


def _host_label(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text):
        raise ValueError(
            "must be one host-name label: lower-case letters, digits and '-', at most 63 characters"
        )
    return text


def _header_name(text: str) -> str:
    if not 1 <= len(text) <= 100:
        raise ValueError("must have 1 to 100 characters")
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be a legal HTTP field name")
    if _RESERVED_HEADER.fullmatch(text):
        raise ValueError("is reserved: choose a header that clients may set")
    return text


def _model_name(text: str) -> str:
    if not 4 <= len(text) <= 63:
        raise ValueError("must have 4 to 63 characters")
    if not text.isprintable() or re.search(r"\s", text):
        raise ValueError("must not contain spaces or control characters")
    return text


def _entity(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", text):
        raise ValueError(
            "must be the name of a W&B user or team: letters, digits, '.', '_' and '-', at most 128 characters"
        )
    return text


def _no_zone_id(text: str) -> str:
    """An IPv6 zone id is any text at all, and means something on one machine only."""
    if "%" in text:
        raise ValueError("must not have a zone id")
    return text


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("must be an IP address; for a host name use dnsBackend") from None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"must be a CIDR range such as 10.0.0.0/8: {error}") from None


def _identifier(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("must be a UUID") from None


def _url_path(text: str) -> str:
    if not re.fullmatch(r"/[!-~]*", text):
        raise ValueError("must be a URL path that begins with '/'")
    return text


HostName = Annotated[str, AfterValidator(_host_name)]
HostLabel = Annotated[str, AfterValidator(_host_label)]
Entity = Annotated[str, AfterValidator(_entity)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
ModelName = Annotated[str, AfterValidator(_model_name)]
IpAddress = Annotated[str, Field(max_length=64), AfterValidator(_no_zone_id), AfterValidator(_ip_address)]
Network = Annotated[str, Field(max_length=64), AfterValidator(_no_zone_id), AfterValidator(_network)]
Identifier = Annotated[str, Field(max_length=64), AfterValidator(_identifier)]
UrlPath = Annotated[str, Field(max_length=1024), AfterValidator(_url_path)]
Port = Annotated[int, Field(ge=1, le=65535)]
NonEmpty = Annotated[str, Field(min_length=1, max_length=255)]
Text = Annotated[str, Field(max_length=1024)]
