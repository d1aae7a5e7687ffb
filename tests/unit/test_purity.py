"""Pure modules stay pure: importing them in a fresh interpreter brings in no server, network or database.

What libraries import counts too: neither pydantic nor protobuf brings in `asyncio`, so it can be forbidden
whole. (`socket` comes with `uuid` and `urllib`'s relatives, and is not in the list.)
"""

import json
import subprocess
import sys

import pytest

FORBIDDEN = {
    "aiocache",
    "asyncio",
    "asyncpg",
    "docker",
    "grpc",
    "httpx",
    "prometheus_client",
    "sqlalchemy",
    "sqlite3",
    "starlette",
    "structlog",
    "typer",
    "uvicorn",
    "uvloop",
    "watchfiles",
}
PURE = [
    "igw_model",
    "igw_agent.cache",
    "igw_certs.identity",
    "igw_certs.pair",
    "igw_extauth.answer",
    "igw_extauth.attempt",
    "igw_extauth.decision",
    "igw_extauth.authority.breaker",
    "igw_extauth.authority.bucket",
    "igw_extauth.identities.freshness",
    "igw_extauth.identities.revocations",
    "igw_extauth.limits.project",
    "igw_extauth.limits.admission",
    "igw_ops.grpc.connection",
    "igw_ops.grpc.turns",
    "igw_ops.grpc.unfinished",
    "igw_containers.container",
    "igw_containers.presence",
    "igw_containers.replicas",
    "igw_usage.record",
    "igw_usage.otlp",
    "igw_usage.delivery",
    "igw_xds.derivation",
    "igw_xds.plan",
    "igw_xds.names",
    "igw_xds.containment",
    "igw_xds.follower",
    "igw_xds.rollout",
    "igw_xds.clients",
    "igw_xds.snapshot",
    "igw_xds.stream",
    "igw_xds.table",
    "igw_xds.turns",
    "igw_xds.world",
    "igw_xds.zone",
    "igw_xds.observation",
    "igw_xds.overview",
    "igw_xds.subjects",
    "igw_xds.resources",
]
IMPORT = """
import importlib, json, pkgutil, sys
module = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(getattr(module, "__path__", []), sys.argv[1] + "."):
    importlib.import_module(found.name)
print(json.dumps(sorted(sys.modules)))
"""


def imported(module: str) -> set[str]:
    """Give every module that is loaded once a module, and all within it, is imported."""
    command = [sys.executable, "-c", IMPORT, module]
    return set(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_brings_in_no_server(module: str) -> None:
    """Values and functions need no I/O: the core runs where no server is installed."""
    found = imported(module)
    assert module in found
    assert not {name for name in found if name.partition(".")[0] in FORBIDDEN}


@pytest.mark.parametrize("module", ["igw_model", "igw_xds.stream", "igw_xds.resources"])
def test_no_store_and_no_operations(module: str) -> None:
    """Dependencies point down: adapters know the core, and not the other way round."""
    assert not {name for name in imported(module) if name.startswith(("igw_store", "igw_ops", "igw_cli"))}


def test_the_check_can_fail() -> None:
    """A module that serves is found out."""
    assert {"asyncio", "structlog"} <= {name.partition(".")[0] for name in imported("igw_xds.server")}


def test_the_discovery_server_does_without_grpc() -> None:
    """Its wire is ours (docs/decisions/0012): gRPC's library is slower, and a process pays for it at the start."""
    assert "grpc" not in {name.partition(".")[0] for name in imported("igw_xds.server")}
