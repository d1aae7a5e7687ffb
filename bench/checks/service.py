"""One extauth with one worker, its authority, and Redis; all as they are run."""

import secrets
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from igw_demo.tokens import CoreWeaveToken, demo_tokens
from igw_model.policy import Access, Policy, Provider, policy_text
from tax.processes import Processes
from tax.stage import free_ports

ORGANIZATION = "demo-org"
OPEN = Policy(Provider.COREWEAVE, ORGANIZATION, "gw-1")
LIMITED = Policy(Provider.WANDB, ORGANIZATION, "gw-2", Access.ANY, (), limited=True)
PLENTY = 2**40


@dataclass(frozen=True, slots=True)
class Service:
    """A running extauth; the tokens are CoreWeave's and known to its authority."""

    processes: Processes
    pid: int
    http: int
    grpc: int
    command: tuple[str, ...]
    ops: int
    tokens: tuple[str, ...] = field(repr=False)
    wandb: str = field(repr=False)

    def again(self) -> "Service":
        """Start it anew: it remembers nothing."""
        self.processes.stop("extauth")
        pid = self.processes.start("extauth", self.command)
        wait(self.processes, "extauth", f"http://127.0.0.1:{self.ops}/readyz")
        return replace(self, pid=pid)


def service(processes: Processes, folder: Path, count: int, redis_url: str | None) -> Service:
    """Start an authority that knows so many tokens, and an extauth."""
    authority, http, grpc, ops = free_ports(4)
    tokens = demo_tokens(secrets.token_urlsafe, ORGANIZATION)
    tokens.save(folder / "tokens.json")
    igw = (sys.executable, "-m", "igw_cli")
    processes.start(
        "authority",
        (*igw, "demo", "authority", "--tokens-file", str(folder / "tokens.json"), "--port", str(authority)),
    )
    wait(processes, "authority", f"http://127.0.0.1:{authority}/demo/calls")
    many = [CoreWeaveToken(f"CW-SECRET-{secrets.token_urlsafe(32)}", "u", ORGANIZATION) for _ in range(count)]
    added = {"add": [{"coreweave": token.document()} for token in many]}
    httpx.post(f"http://127.0.0.1:{authority}/demo/tokens", json=added, timeout=30).raise_for_status()
    command = (
        *(*igw, "extauth", "--port", str(http), "--grpc-port", str(grpc), "--ops-port", str(ops)),
        *("--coreweave-whoami-url", f"http://127.0.0.1:{authority}/v1beta1/auth/whoami"),
        *("--wandb-graphql-url", f"http://127.0.0.1:{authority}/graphql"),
        *("--cache-seconds", "3600", "--authority-calls-per-second", "1000000"),
        *("--limits-concurrency", str(PLENTY), "--limits-requests-per-minute", str(PLENTY)),
        *("--limits-tokens-per-minute", str(PLENTY), "--lease-seconds", "3"),
        *(("--cache-url", redis_url, "--secret-file", str(folder / "secret")) if redis_url else ()),
    )
    pid = processes.start("extauth", command)
    wait(processes, "extauth", f"http://127.0.0.1:{ops}/readyz")
    return Service(
        processes, pid, http, grpc, command, ops, tuple(token.token for token in many), tokens.wandb.token
    )


def redis(processes: Processes, command: str) -> str:
    """Start a Redis that keeps nothing, and give its URL."""
    [port] = free_ports(1)
    processes.start("redis", (command, "--port", str(port), "--save", "", "--bind", "127.0.0.1"))
    return f"redis://127.0.0.1:{port}/0"


def wait(processes: Processes, name: str, url: str) -> None:
    """Wait until a URL answers 200."""

    def trouble() -> str:
        try:
            status = httpx.get(url, timeout=2).status_code
        except httpx.HTTPError as error:
            return repr(error)
        return "" if status == 200 else f"status {status}"

    processes.wait(name, trouble)


def headers(policy: Policy, token: str) -> dict[str, str]:
    """Give what Envoy sends with a check over HTTP."""
    return {"authorization": f"Bearer {token}", "x-igw-policy": policy_text(policy)}
