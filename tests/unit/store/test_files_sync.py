"""Definition files beside the API's objects in one store: what files say becomes rows, all of it or nothing."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from igw_model.record import Kind, Record
from igw_store.files import load
from igw_store.files_sync import sync
from igw_store.sources import Source
from igw_store.sqlite import SqliteStore
from pydantic import SecretStr

from tests.builders import deployment_id, deployment_spec, gateway_id, gateway_spec, without, write
from tests.unit.store.records import READY, at, deployment_record, gateway_record, hosts, on, soon

Spec = Mapping[str, Any]


def place(path: Path, document: int = 1) -> str:
    """Give an origin."""
    return f"{path}, document {document}"


async def said(store: SqliteStore, path: Path, now: datetime, *specs: Spec) -> list[str]:
    """Synchronise what a file with these definitions says; give the errors, without the folder."""
    loaded = load([write(path, *specs)])
    assert loaded.errors == ()
    errors = await store.write(sync(loaded, now))
    return [str(error).replace(f"{path.parent}/", "") for error in errors]


async def everything(store: SqliteStore) -> dict[str, Record]:
    """Give all objects by id."""
    lists = await store.read(lambda view: [view.list(kind, None) for kind in Kind])
    return {record.id: record for records in lists for record in records}


def of_file(record: Record, path: Path, document: int = 1, **fields: Any) -> Record:
    """Give a record as a file makes it."""
    return replace(record, origin=place(path, document), **fields)


def test_sources_are_what_was_written(tmp_path: Path) -> None:
    """The document as it was written, with id and organisation, gateways by id, without nulls and the key."""
    gateway = {
        "name": "chat",
        "zones": ["us-East-04a"],
        "weightsAndBiasesAuth": {"serverUrl": "https://x", "apiKey": "key", "enableUsageReports": None},
        "bodyBasedRouting": {"apiType": 1},
        "endpointConfiguration": None,
    }
    deployment = without(deployment_spec(gatewayIds=["chat", gateway_id(2).upper()]), "organizationId")
    path = write(tmp_path / "d.yaml", gateway, deployment, gateway_spec(2, id=gateway_id(2).upper()))
    chat, second, served = load([path], "acme").sources
    assert chat == Source(
        Kind.GATEWAY,
        chat.id,
        "acme",
        "chat",
        {
            "id": chat.id,
            "organizationId": "acme",
            "name": "chat",
            "zones": ["us-East-04a"],
            "weightsAndBiasesAuth": {"serverUrl": "https://x"},
            "bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"},
        },
        SecretStr("key"),
        place(path),
    )
    assert (second.spec, second.origin) == (gateway_spec(2), place(path, 3))
    assert served == Source(
        Kind.DEPLOYMENT,
        deployment_id(1),
        "acme",
        "deployment-1",
        deployment_spec(gatewayIds=[chat.id, gateway_id(2)]),
        None,
        place(path, 2),
    )


def test_no_sources_with_errors(tmp_path: Path) -> None:
    """What is broken anywhere is not taken in part."""
    path = write(tmp_path / "d.yaml", gateway_spec(1), gateway_spec(2, zones=[]))
    loaded = load([path])
    assert (bool(loaded.errors), loaded.sources) == (True, ())


async def test_files_become_rows(store: SqliteStore, tmp_path: Path) -> None:
    """Each definition is an object of its own, with its origin and the moment at which it was read."""
    path = tmp_path / "d.yaml"
    assert await said(store, path, at(), gateway_spec(1), deployment_spec(1)) == []
    assert await everything(store) == {
        gateway_id(1): of_file(gateway_record(1), path),
        deployment_id(1): of_file(deployment_record(1), path, 2),
    }


async def test_what_did_not_change_is_left(store: SqliteStore, tmp_path: Path) -> None:
    """The same again writes nothing; another place is no other generation; status stays."""
    path = tmp_path / "d.yaml"
    await said(store, path, at(), gateway_spec(1), gateway_spec(2))
    watch = store.watch()
    await soon(watch)
    await store.write(lambda w: w.observe(Kind.GATEWAY, gateway_id(1), READY, at(1)))
    await said(store, path, at(2), gateway_spec(1), gateway_spec(2))
    await said(store, path, at(3), gateway_spec(2), gateway_spec(1))
    one = of_file(gateway_record(1), path, 2, observed=READY, updated_at=at(1))
    two = of_file(gateway_record(2), path, 1)
    assert await everything(store) == {gateway_id(1): one, gateway_id(2): two}
    change = await soon(watch)
    assert change.records == {(Kind.GATEWAY, one.id): one, (Kind.GATEWAY, two.id): two}


async def test_a_changed_definition(store: SqliteStore, tmp_path: Path) -> None:
    """Another spec or key is another generation of the same object, and nobody else's."""
    path = tmp_path / "d.yaml"
    auth = {"serverUrl": "https://x", "apiKey": "one"}
    await said(store, path, at(), gateway_spec(1), gateway_spec(2, weightsAndBiasesAuth=auth))
    newer = {**auth, "apiKey": "two"}
    await said(store, path, at(1), gateway_spec(1, zones=["b"]), gateway_spec(2, weightsAndBiasesAuth=newer))
    second: dict[str, Any] = {"generation": 2, "updated_at": at(1)}
    spec = gateway_spec(2, weightsAndBiasesAuth={"serverUrl": "https://x"})
    assert await everything(store) == {
        gateway_id(1): of_file(gateway_record(1, {"zones": ["b"]}), path, **second),
        gateway_id(2): of_file(gateway_record(2), path, 2, spec=spec, api_key=SecretStr("two"), **second),
    }


async def test_a_definition_that_is_gone(store: SqliteStore, tmp_path: Path) -> None:
    """It is being deleted, once, until the control plane forgets it; the API's objects stay."""
    path = tmp_path / "d.yaml"
    mine = gateway_record(9)
    await store.write(lambda w: w.put(mine))
    await said(store, path, at(), gateway_spec(1), gateway_spec(2))
    for seconds in (1, 2):
        await said(store, path, at(seconds), gateway_spec(2))
    assert await everything(store) == {
        mine.id: mine,
        gateway_id(1): of_file(gateway_record(1), path, deleting=True, updated_at=at(1)),
        gateway_id(2): of_file(gateway_record(2), path, 1),
    }


async def test_a_definition_that_comes_back(store: SqliteStore, tmp_path: Path) -> None:
    """While it is being deleted or after: a new object, which no old status is about."""
    path = tmp_path / "d.yaml"
    both = gateway_spec(1), gateway_spec(2)
    await said(store, path, at(), *both)
    await store.write(lambda w: w.observe(Kind.GATEWAY, gateway_id(1), READY, at(1)))
    await said(store, path, at(2), gateway_spec(2))
    await said(store, path, at(3), *both)
    again = of_file(gateway_record(1), path, generation=2, created_at=at(3), updated_at=at(3))
    assert (await everything(store))[gateway_id(1)] == again


async def test_names_and_hosts_exchanged(store: SqliteStore, tmp_path: Path) -> None:
    """Two definitions may take each other's name and host names, and one those of a definition that goes."""
    path = tmp_path / "d.yaml"
    named = [gateway_spec(n, **hosts(f"h{n}.example.com")) for n in (1, 2, 3)]
    await said(store, path, at(), *named)
    exchanged = [
        gateway_spec(1, name="gateway-2", **hosts("h2.example.com")),
        gateway_spec(2, name="gateway-3", **hosts("h3.example.com", "h1.example.com")),
    ]
    assert await said(store, path, at(1), *exchanged) == []
    names = {record.id: record.name for record in (await everything(store)).values() if not record.deleting}
    owners = await store.read(lambda view: [view.host_owner(f"h{n}.example.com") for n in (1, 2, 3)])
    assert names == {gateway_id(1): "gateway-2", gateway_id(2): "gateway-3"}
    assert owners == [gateway_id(2), gateway_id(1), gateway_id(2)]


async def test_another_organisation(store: SqliteStore, tmp_path: Path) -> None:
    """A definition that is given to another organisation is a new object with the same id."""
    path = tmp_path / "d.yaml"
    await said(store, path, at(), gateway_spec(1))
    assert await said(store, path, at(1), gateway_spec(1, organizationId="other")) == []
    moved = of_file(gateway_record(1, {"organizationId": "other"}), path, created_at=at(1), updated_at=at(1))
    assert await everything(store) == {moved.id: moved}


async def test_what_is_the_api_s_already(store: SqliteStore, tmp_path: Path) -> None:
    """A name, id or host of an object made through the API: every such error with its place, and nothing written."""
    path = tmp_path / "d.yaml"
    mine = [
        gateway_record(1, {"name": "chat", **hosts("a.example.com")}),
        gateway_record(2),
        deployment_record(9, {"name": "deployment-1"}),
    ]
    for record in mine:
        await store.write(lambda w, r=record: w.put(r))  # type: ignore[misc]
    errors = await said(
        store,
        path,
        at(1),
        gateway_spec(5),
        gateway_spec(3, name="chat", **hosts("b.example.com", "A.example.com")),
        gateway_spec(2, name="other"),
        deployment_spec(1, **on(3)),
    )
    assert errors == [
        f"d.yaml, document 2: name: is already the name of gateway {gateway_id(1)}, made through the API",
        "d.yaml, document 2: endpointConfiguration.additionalDns[1]: "  # noqa: ISC004 - one text
        f"A.example.com is already a host name of gateway {gateway_id(1)}, made through the API",
        f"d.yaml, document 3: id: is already the id of gateway {gateway_id(2)}, made through the API",
        f"d.yaml, document 4: name: is already the name of deployment {deployment_id(9)}, made through the API",
    ]
    assert await everything(store) == {record.id: record for record in mine}


async def test_a_gateway_that_the_api_still_needs(store: SqliteStore, tmp_path: Path) -> None:
    """A file's gateway cannot go before the deployments that were made for it through the API, as in the API."""
    path = tmp_path / "d.yaml"
    both = gateway_spec(1), gateway_spec(2)
    await said(store, path, at(), *both)
    await store.write(lambda w: w.put(deployment_record(7)))
    assert await said(store, path, at(1), gateway_spec(2)) == [
        f"d.yaml: gateway gateway-1 cannot go: deployment {deployment_id(7)}, made through the API, names it"
    ]
    await store.write(lambda w: w.put(deployment_record(7, deleting=True)))
    assert await said(store, path, at(2), gateway_spec(2)) == []


async def test_broken_files(store: SqliteStore, tmp_path: Path) -> None:
    """Files with errors change nothing, and their errors are given back."""
    path = tmp_path / "d.yaml"
    await said(store, path, at(), gateway_spec(1))
    path.write_text(yaml.safe_dump({"kind": "Gatway", "spec": {}}), encoding="utf-8")
    loaded = load([path])
    assert await store.write(sync(loaded, at(1))) == list(loaded.errors)
    assert list(await everything(store)) == [gateway_id(1)]
