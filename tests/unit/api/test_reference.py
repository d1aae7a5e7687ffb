"""The OpenAPI document is true: every route is in it and the other way round, and its examples are valid."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import yaml
from igw_api.reference import ASSETS, openapi
from igw_api.rest import BASE, TABLE

from tests.unit.api.installation import SETTINGS, Installation, installation, resolved, with_settings

VERBS = {"get", "put", "post", "patch", "delete"}


def operations() -> Iterator[tuple[str, str, Any]]:
    """Give the document's paths, verbs and operations."""
    for path, item in openapi()["paths"].items():
        for verb, operation in item.items():
            if verb in VERBS:
                yield path, verb.upper(), operation


def test_every_route_is_an_operation_and_the_other_way_round() -> None:
    """Paths, verbs and names of the document are those that are served."""
    served = {
        (BASE + path.replace(":path", ""), verb): str(method)
        for path, verbs in TABLE.items()
        for verb, method in verbs.items()
    }
    assert {(path, verb): operation["operationId"] for path, verb, operation in operations()} == served


def test_every_operation_tells_every_status() -> None:
    """Each operation has the statuses that any may give, and those of its kind: a body, an id, a write, usage."""
    for path, verb, operation in operations():
        expected = {"200", "400", "401", "403", "500", "503"}
        by_id = "{id}" in path
        expected |= {"404"} if by_id else set()
        expected |= {"413", "415"} if verb in {"POST", "PATCH", "PUT"} else set()
        expected |= {"409"} if verb in {"POST", "PATCH"} else set()
        expected |= {"412"} if by_id and verb in {"PATCH", "PUT", "DELETE"} else set()
        expected |= {"501"} if path.endswith("/usage") else set()
        assert (path, verb, set(operation["responses"])) == (path, verb, expected)


def examples() -> Iterator[tuple[str, Any, Any]]:
    """Give every example with its schema."""
    for path, verb, operation in operations():
        contents = [resolved(operation.get("requestBody", {})).get("content", {})]
        contents += [resolved(response).get("content", {}) for response in operation["responses"].values()]
        for number, content in enumerate(contents):
            for media in content.values():
                named = [resolved(example)["value"] for example in media.get("examples", {}).values()]
                for value in [*named, *([media["example"]] if "example" in media else [])]:
                    yield f"{verb} {path} {number}", media["schema"], value
        common = openapi()["paths"][path].get("parameters", [])
        for parameter in map(resolved, [*common, *operation.get("parameters", [])]):
            yield f"{verb} {path} {parameter['name']}", parameter["schema"], parameter["example"]


def test_every_example_is_valid() -> None:
    """Each body and each parameter has an example that its schema allows."""
    told = list(examples())
    for place, schema, value in told:
        whole = {**schema, "components": openapi()["components"]}
        errors = list(jsonschema_rs.Draft202012Validator(whole, validate_formats=True).iter_errors(value))
        assert (place, errors) == (place, [])
    assert len(told) > len(list(operations()))


async def test_the_examples_of_bodies_are_accepted() -> None:
    """What the document shows can be sent as it is, in order, to an installation that offers it."""
    held = SETTINGS.parameters.model_copy(update={"capacity": {"US-EAST-04A": {"gd-8xh100ib-i128": 2}}})
    bodies = openapi()["components"]["requestBodies"]
    gateway, deployment, claim = (
        bodies[name]["content"]["application/json"] for name in ("Gateway", "Deployment", "CapacityClaim")
    )
    async with installation(with_settings(parameters=held)) as api:
        first, second = (example["value"] for example in gateway["examples"].values())
        sent = [("/gateways", first | {"id": "0a000000-0000-4000-8000-000000000001"}), ("/gateways", second)]
        sent += [("/deployments", example["value"]) for example in deployment["examples"].values()]
        sent += [("/capacityclaims", claim["example"])]
        answers = [await api.call("POST", path, body) for path, body in sent]
        assert [(answer.status, answer.body.get("message")) for answer in answers] == [(200, None)] * 5


def test_the_document_is_openapi() -> None:
    """It says which version it is, and every reference in it leads somewhere."""
    assert openapi()["openapi"] == "3.1.0"
    for reference in references(openapi()):
        assert reference.startswith("#/components/")
        resolved({"$ref": reference})


def references(node: Any) -> Iterator[str]:
    """Give every reference of a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    for item in node if isinstance(node, list) else []:
        yield from references(item)


async def test_the_document_is_served(api: Installation) -> None:
    """`/openapi.json` and `/openapi.yaml` need no token and say the same."""
    as_json = await api.client.get("/openapi.json")
    as_yaml = await api.client.get("/openapi.yaml")
    assert as_json.headers["content-type"] == "application/json"
    assert as_json.json() == yaml.safe_load(as_yaml.text) == openapi()


async def test_the_page_is_served_whole_from_here(api: Installation) -> None:
    """`/docs` loads nothing from elsewhere, and what it loads is here."""
    page = await api.client.get("/docs")
    assert page.status_code == 200
    assert "//" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    for name in ("start.js", *ASSETS):
        assert f"docs/{name}" in page.text
        asset = await api.client.get(f"/docs/{name}")
        assert (asset.status_code, bool(asset.content)) == (200, True)


@pytest.mark.parametrize("path", ["/docs/swagger-ui.js", "/docs/%2e%2e/core.py", "/docs/..%2fcore.py"])
async def test_no_other_file_is_served(api: Installation, path: str) -> None:
    """Only the files that the page needs."""
    assert (await api.client.get(path)).status_code == 404
