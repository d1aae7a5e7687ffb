"""Containers, happenings and deployments for tests: valid as they are, changed by keyword."""

from typing import Any

from igw_containers.container import Container, Happening, What
from igw_containers.replicas import Target
from igw_model.deployment import DockerBackend


def container(name: str = "a", **fields: Any) -> Container:
    """Give a container on network `demo_models`, labelled `llama`."""
    known = {"deployment": "llama", "addresses": {"demo_models": "10.0.0.1"}}
    return Container(id=f"id-{name}", name=name, **(known | fields))


def happening(what: What, name: str = "a", nanoseconds: int = 1) -> Happening:
    """Give a happening to a container."""
    return Happening(what, f"id-{name}", nanoseconds)


def target(number: int = 1, name: str = "llama", organization: str = "acme", **backend: Any) -> Target:
    """Give deployment `number`, at port 8000."""
    return Target(
        f"d{number}", name, organization, DockerBackend(kind="dockerBackend", **({"port": 8000} | backend))
    )
