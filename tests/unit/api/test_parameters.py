"""The parameters' file in, parameters or clear errors out; and other small values of the API."""

from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest
from igw_api.moments import moment_of, moment_text
from igw_api.parameters import Engine, Parameters, ParametersError, load
from igw_api.settings import Backends, Endpoints
from igw_model.capacity_claim import Wanted, allocation

from tests.builders import gateway_id
from tests.unit.api.installation import parameters


def test_without_a_file_anything_but_the_zone_is_free() -> None:
    """The built-in parameters have the configured zones, three engines, and no further bounds."""
    engines = {name: Engine() for name in ("vllm", "sglang", "dynamo")}
    assert load(None, ("LOCAL",)) == Parameters(zones=("LOCAL",), engines=engines)


def test_a_file_says_what_may_be_chosen(tmp_path: Path) -> None:
    """A file's fields replace the built-in ones, and zones the configured ones."""
    path = tmp_path / "parameters.yaml"
    path.write_text(
        "zones: [A, B]\n"
        "engines: {vllm: {versions: [v1], allowedKeys: [dtype]}}\n"
        "instanceTypes: [gd-8]\n"
        "capacity: {a: {gd-8: 4}}\n",
        encoding="utf-8",
    )
    found = load(path, ("LOCAL",))
    assert found == parameters(
        zones=["A", "B"],
        engines={"vllm": {"versions": ["v1"], "allowedKeys": ["dtype"]}},
        instanceTypes=["gd-8"],
        capacity={"a": {"gd-8": 4}},
    )
    assert (found.instances_of("A"), found.instances_of("B")) == (("gd-8",), ())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("zones: []", "zones: must not be empty"),
        ("zones: [A, a]", r"zones\[1\]: is there already, in another letter case perhaps"),
        ("capacity: {MARS: {gd-8: 1}}", "capacity.MARS: is not among zones"),
        ("capacity: {LOCAL: {gd-8: -1}}", "capacity.LOCAL.gd-8: must be at least 0"),
        ("engines: {vllm: {version: v1}}", "engines.vllm.version: unknown field"),
        ("colours: []", "colours: unknown field"),
        ("zones: [", "is no YAML"),
        ("zones: [2026-02-31]", "is no YAML: this is no timestamp"),
        ("zones: !!bool maybe", "is no YAML: this is no bool"),
        ("[]", "must be an object"),
    ],
)
def test_errors_name_file_and_field(tmp_path: Path, text: str, reason: str) -> None:
    """A file that cannot be used says which field, and why."""
    path = tmp_path / "parameters.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParametersError, match=f"parameters.yaml: {reason}"):
        load(path, ("LOCAL",))


def test_allocation_is_in_order_and_gives_no_more_than_there_is() -> None:
    """Earlier claims first, zones in their order, and never more than the inventory."""
    wanted = [
        Wanted("1", "gd-8", 3, ("A", "B")),
        Wanted("2", "gd-8", 3, ("b", "a")),
        Wanted("3", "gd-1", 1, ("A",)),
        Wanted("4", "gd-8", 2, ("A", "B")),
    ]
    inventory = {"A": {"gd-8": 2}, "B": {"gd-8": 3}}
    assert allocation(wanted, inventory) == {"1": 3, "2": 2, "3": 0, "4": 0}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00Z"),
        ("2026-01-31T09:00:00.5+01:00", "2026-01-31T08:00:00.500Z"),
        ("2026-01-31t08:00:00.123456789z", "2026-01-31T08:00:00.123456Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_moments_are_rfc3339_in_utc(text: str, shown: str) -> None:
    """Any RFC 3339 time is read; it is written in UTC with `Z` and 0, 3 or 6 digits of fraction."""
    moment = moment_of(text)
    assert moment is not None
    assert moment_text(moment) == shown


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31",
        "2026-01-31T08:00Z",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "٢٠٢٦-01-31T08:00:00Z",
    ],
)
def test_what_is_no_moment_is_none(text: str) -> None:
    """Anything else is no time."""
    assert moment_of(text) is None
    assert moment_text(datetime(2026, 1, 31, tzinfo=UTC)) == "2026-01-31T00:00:00Z"


def test_endpoints_leave_out_the_usual_port() -> None:
    """`https://api.<GATEWAY-ID>.<domain>`, primary first; the port where it is not the scheme's own."""
    public = Endpoints("https", "gw.example.com", 443)
    assert public.of(gateway_id(1), ("Models.Example.com.",)) == [
        f"https://api.{gateway_id(1)}.gw.example.com",
        "https://models.example.com",
    ]
    local = Endpoints("http", "gw.localhost", 8080)
    assert local.of(gateway_id(1), ()) == [f"http://api.{gateway_id(1)}.gw.localhost:8080"]


def test_backends_are_held_to_networks() -> None:
    """An address must be in a network; an IPv4 address in IPv6's clothes counts as IPv4; without networks none is."""
    backends = Backends((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    allowed = {
        address: backends.allow(address)
        for address in ("10.1.2.3", "fd00::1", "::ffff:10.1.2.3", "11.0.0.1", "::1", "::ffff:127.0.0.1")
    }
    assert [address for address, found in allowed.items() if found] == [
        "10.1.2.3",
        "fd00::1",
        "::ffff:10.1.2.3",
    ]
    assert not Backends().allow("10.1.2.3")
