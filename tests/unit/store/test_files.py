"""Definition files in, consistent definitions or every error out, each with its place."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from igw_model.definitions import Definitions, derived_id
from igw_store.files import load

from tests.builders import (
    deployment,
    deployment_spec,
    gateway,
    gateway_id,
    gateway_spec,
    static,
    without,
    write,
)

GATEWAY = {"kind": "Gateway", "spec": gateway_spec()}
DEPLOYMENT = {"kind": "Deployment", "spec": deployment_spec()}
BOTH = Definitions((gateway(),), (deployment(),))


def read(path: Path, text: str) -> Definitions:
    """Give what a file with this text defines."""
    path.write_text(text, encoding="utf-8")
    loaded = load([path])
    assert loaded.errors == ()
    return loaded.definitions


def errors(folder: Path, text: str, name: str = "gateways.yaml") -> list[str]:
    """Give the messages for a file with this text, without the folder."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    loaded = load([path])
    assert loaded.definitions == Definitions()
    return [str(error).replace(f"{folder}/", "") for error in loaded.errors]


def test_yaml_of_many_documents(tmp_path: Path) -> None:
    """A YAML file holds documents `{kind, spec}`, empty ones among them."""
    text = yaml.safe_dump_all([GATEWAY, None, DEPLOYMENT])
    assert read(tmp_path / "all.yaml", text) == BOTH


@pytest.mark.parametrize("content", [[GATEWAY, DEPLOYMENT], [GATEWAY], GATEWAY])
def test_json_of_one_object_or_many(tmp_path: Path, content: Any) -> None:
    """A JSON file holds one document, or an array of them."""
    deployments = (deployment(),) if content == [GATEWAY, DEPLOYMENT] else ()
    assert read(tmp_path / "all.json", json.dumps(content)) == Definitions((gateway(),), deployments)


def test_yaml_anchors_and_merges(tmp_path: Path) -> None:
    """YAML's own ways of not repeating oneself are no repeated keys."""
    text = yaml.safe_dump(without(GATEWAY["spec"], "name", "id")) if isinstance(GATEWAY["spec"], dict) else ""
    base = "".join(f"  {line}\n" for line in text.splitlines())
    merged = f"kind: Gateway\nspec:\n  <<: &base\n  {base.replace(chr(10), chr(10) + '  ').rstrip(' ')}  name: chat\n"
    assert read(tmp_path / "merged.yaml", merged).gateways[0].name == "chat"


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    """The .yaml, .yml and .json files directly in a folder, by name; others are none of ours."""
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "c.yaml", gateway_spec(9))
    write(tmp_path / "b.yml", gateway_spec(2))
    (tmp_path / "a.json").write_text(json.dumps(GATEWAY), encoding="utf-8")
    (tmp_path / "README.md").write_text("{", encoding="utf-8")
    assert load([tmp_path]).definitions == Definitions((gateway(1), gateway(2)))


def test_definitions_join_over_files(tmp_path: Path) -> None:
    """A deployment in one file may name a gateway in another."""
    one, other = write(tmp_path / "1.yaml", deployment_spec()), write(tmp_path / "2.yaml", gateway_spec())
    assert load([one, other]).definitions == BOTH


def test_what_a_file_may_leave_out(tmp_path: Path) -> None:
    """An organisation comes from the setting, and an id from kind, organisation and name."""
    path = write(
        tmp_path / "d.yaml",
        without(gateway_spec(name="chat"), "id", "organizationId"),
        without(deployment_spec(gatewayIds=["chat"], id=None, organizationId=None), "x"),
    )
    found = load([path], "acme").definitions
    chat = derived_id("gateway", "acme", "chat")
    assert found.gateways == (gateway(id=chat, name="chat"),)
    assert found.deployments == (
        deployment(id=derived_id("deployment", "acme", "deployment-1"), gatewayIds=[chat]),
    )


def test_a_definition_s_own_organisation_wins(tmp_path: Path) -> None:
    """The setting is for those that name none."""
    path = write(tmp_path / "d.yaml", gateway_spec(organizationId="other"))
    assert load([path], "acme").definitions.gateways[0].organization_id == "other"


def test_no_organisation_at_all(tmp_path: Path) -> None:
    """The message says both ways of naming one."""
    assert errors(
        tmp_path, yaml.safe_dump({**GATEWAY, "spec": without(gateway_spec(), "organizationId")})
    ) == ["gateways.yaml, document 1: organizationId: is required: set it here or with IGW_ORGANIZATION_ID"]


def test_an_error_names_its_place(tmp_path: Path) -> None:
    """File, document, field and rule; every error of every file at once."""
    second = gateway_spec(2, pathBasedRouting={}, bodyBasedRouting={"apiType": 1})
    text = yaml.safe_dump_all([GATEWAY, {"kind": "Gateway", "spec": second}, DEPLOYMENT | {"colour": "red"}])
    path = write(tmp_path / "more.yaml", deployment_spec(traffic={"weight": 1001}))
    expected = [
        "gateways.yaml, document 2: bodyBasedRouting, pathBasedRouting: choose exactly one",
        "gateways.yaml, document 3: colour: unknown field",
    ]
    assert errors(tmp_path, text) == expected
    both = load([tmp_path / "gateways.yaml", path]).errors
    assert [str(e).replace(f"{tmp_path}/", "") for e in both] == [
        *expected,
        "more.yaml, document 1: traffic.weight: must be at most 1000",
    ]


def test_empty_documents_count(tmp_path: Path) -> None:
    """Documents are numbered as an editor shows them."""
    assert errors(tmp_path, f"---\n---\n{yaml.safe_dump({'kind': 'Gatway', 'spec': {}})}") == [
        "gateways.yaml, document 2: kind: must be Gateway or Deployment"
    ]


def test_a_rule_between_definitions_names_its_place(tmp_path: Path) -> None:
    """The second use of a name is the one at fault, wherever it stands."""
    first = write(tmp_path / "a.yaml", gateway_spec(1), gateway_spec(2))
    write(tmp_path / "b.yaml", gateway_spec(3), gateway_spec(4, name="gateway-2"))
    loaded = load([first, tmp_path / "b.yaml"])
    assert [str(error) for error in loaded.errors] == [
        f"{tmp_path}/b.yaml, document 2: name: is used by another gateway"
    ]
    assert loaded.definitions == Definitions()


OBJECT = "must be an object {kind: Gateway|Deployment, spec: {…}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: CapacityClaim\nspec: {}", "kind: must be Gateway or Deployment"),
        ("spec: {}", "kind: must be Gateway or Deployment"),
        ("kind: [Gateway]\nspec: {}", "kind: must be Gateway or Deployment"),
        ("kind: Gateway", OBJECT),
        ("kind: Gateway\nspec: []", OBJECT),
        ("- kind: Gateway", OBJECT),
        ("gateway", OBJECT),
        ("1", OBJECT),
    ],
)
def test_a_document_has_a_kind_and_a_spec(tmp_path: Path, text: str, message: str) -> None:
    """What is neither gateway nor deployment is said to be so."""
    assert errors(tmp_path, text) == [f"gateways.yaml, document 1: {message}"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "kind: Gateway\nkind: Gateway\nspec: {}", "key 'kind' is written twice"),
        ("a.yaml", "kind: Gateway\nspec:\n  zones: [a]\n  zones: [b]", "key 'zones' is written twice"),
        ("a.json", '{"kind": "Gateway", "spec": {"name": "a", "name": "b"}}', "key 'name' is written twice"),
        ("a.yaml", "kind: [", "line 1, column 8: expected the node content"),
        ("a.yaml", "kind: !!python/object:os.system x", "could not determine a constructor"),
        ("a.yaml", "kind: *x", "found undefined alias"),
        ("a.json", '{"kind": ', "Expecting value"),
        ("a.json", "[" * 100_000, "recursion"),
        ("a.yaml", "kind: !!bool maybe", "line 1, column 7: this is no bool"),
        ("a.yaml", "kind: !!int ''", "line 1, column 7: this is no int"),
        ("a.yaml", "kind: !!timestamp never", "line 1, column 7: this is no timestamp"),
        ("a.yaml", "kind: 2026-02-31", "line 1, column 7: this is no timestamp"),
        ("a.yaml", "!!set [a]", "expected a mapping node"),
        ("a.yaml", "&a {kind: *a}", "line 1, column 1: an alias stands within what it means"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, text: str, message: str) -> None:
    """A file that is not YAML or JSON gives one error in one line, and says where the text is wrong."""
    [error] = errors(tmp_path, text, name)
    assert error.startswith(f"{name}: cannot be read: ")
    assert message in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "line", ["a{n}: &a{n} [{before}]", "a{n}: &a{n} {{<<: [{before}], k{n}: v}}"], ids=["lists", "merges"]
)
def test_a_few_lines_that_mean_billions(tmp_path: Path, line: str) -> None:
    """Aliases of aliases are refused before anything is made of them; they would not end."""
    lines = ["a0: &a0 {k: v}"]
    lines += [line.format(n=n, before=", ".join([f"*a{n - 1}"] * 9)) for n in range(1, 12)]
    text = "\n".join([*lines, "kind: Gateway", "spec: {name: *a11}"])
    assert errors(tmp_path, text) == [
        "gateways.yaml: cannot be read: line 1, column 1: aliases make this too large"
    ]


def test_many_keys_take_no_longer_than_few(tmp_path: Path) -> None:
    """Each is compared with all before it at once: 50,000 of them, one by one, would take a minute."""
    keys = [f'"k{number}": 1' for number in range(50_000)]
    began = time.process_time()
    assert "'k49999' is written twice" in errors(tmp_path, f"{{{', '.join([*keys, keys[-1]])}}}", "a.json")[0]
    assert time.process_time() - began < 5


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    """Files are UTF-8."""
    path = tmp_path / "a.yaml"
    path.write_bytes(b"kind: \xff")
    [error] = load([path]).errors
    assert error.reason.startswith("cannot be read: 'utf-8' codec can't decode byte 0xff")


@pytest.mark.parametrize("field", ["name", "organizationId", "zones"])
def test_half_a_character_is_an_error(tmp_path: Path, field: str) -> None:
    """JSON can write a lone surrogate, which is no text: an error like others, not a crash."""
    spec = without(gateway_spec(), "id") | {field: ["\ud800"] if field == "zones" else "\ud800"}
    place = "zones[0]" if field == "zones" else field
    assert errors(tmp_path, json.dumps({"kind": "Gateway", "spec": spec}), "a.json") == [
        f"a.json, document 1: {place}: must be valid Unicode text"
    ]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """A missing file and a folder without definitions are errors: a typo must not serve nothing."""
    loaded = load([tmp_path / "none.yaml", tmp_path])
    assert [str(error).replace(str(tmp_path), "DIR") for error in loaded.errors] == [
        "DIR/none.yaml: no such file or folder",
        "DIR: no .yaml, .yml, .json file in this folder",
    ]


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    """A file beyond 16 MiB is refused before it is read."""
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(16 * 1024 * 1024 + 1)
    assert [str(e) for e in load([path]).errors] == [f"{path}: cannot be read: larger than 16777216 bytes"]


def test_many_replicas_in_one_line(tmp_path: Path) -> None:
    """Flow style and block style are the same."""
    text = f"{{kind: Gateway, spec: {json.dumps(gateway_spec())}}}\n---\n" + yaml.safe_dump(
        {"kind": "Deployment", "spec": deployment_spec(staticBackend=static(1, 2))}
    )
    found = read(tmp_path / "d.yaml", text)
    assert found == Definitions((gateway(),), (deployment(staticBackend=static(1, 2)),))
    assert found.deployments[0].gateway_ids == (gateway_id(1),)


@pytest.mark.parametrize(("name", "text"), [("a.yaml", ""), ("a.yaml", "# later\n---\n"), ("a.json", "[]")])
def test_a_file_without_definitions(tmp_path: Path, name: str, text: str) -> None:
    """A file that is truncated before it is written must not remove what is served."""
    assert errors(tmp_path, text, name) == [f"{name}: holds no definition"]


def test_errors_do_not_quote_the_file(tmp_path: Path) -> None:
    """A line that cannot be read may hold a key; the place is told, not the line."""
    [error] = errors(tmp_path, "spec: {serverUrl: https://x, apiKey: SECRET123: x}")
    assert "SECRET123" not in error
    assert "line 1, column" in error


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    """What the system cannot look at is an error like others, not the end of the program."""
    (tmp_path / "a.yaml").symlink_to("a.yaml")
    assert [e.reason for e in load([tmp_path / "a.yaml"]).errors] == [
        "cannot be read: Too many levels of symbolic links"
    ]
