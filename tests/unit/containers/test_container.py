"""What a real engine said (20.10) becomes containers and happenings; what nobody ever said harms nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from igw_containers.container import (
    HARMLESS,
    Container,
    Happening,
    What,
    compose_project,
    container,
    happening,
    shown,
)

HERE = Path(__file__).parent
LIST = json.loads((HERE / "engine_list.json").read_text())
EVENTS = [json.loads(line) for line in (HERE / "engine_events.jsonl").read_text().splitlines()]
FIRST, SECOND = LIST[1], LIST[0]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_a_listing() -> None:
    """One on two networks, and a paused one on the host's network, which gives no address."""
    assert [container(document) for document in (FIRST, SECOND)] == [
        Container(
            FIRST["Id"],
            "demo-llama-1",
            "llama",
            project="demo",
            addresses={"demo_one": "172.19.0.2", "demo_two": "172.20.0.2"},
        ),
        Container(SECOND["Id"], "demo-llama-2", "llama", addresses={"host": ""}, paused=True),
    ]


def test_events() -> None:
    """Run, connect, pause, stop, unpause, rename, remove, as the engine told of them."""
    first, second = FIRST["Id"], SECOND["Id"]
    heard = [happening(document) for document in EVENTS]
    assert [h and (h.container_id, h.what) for h in heard] == [
        None,  # create
        (first, What.OTHER),  # connect
        (first, What.STARTED),
        (first, What.OTHER),
        None,
        (second, What.OTHER),
        (second, What.STARTED),
        (second, What.PAUSED),
        (first, What.STOPPING),  # kill, with signal 15
        (first, What.STOPPING),  # die
        (first, What.OTHER),
        (first, What.OTHER),
        (first, What.OTHER),  # stop
        (second, What.UNPAUSED),
        (second, What.OTHER),  # rename
        (first, What.STOPPING),  # destroy
        (second, What.STOPPING),  # kill, with signal 9
        (second, What.STOPPING),
        (second, What.OTHER),
        (second, What.STOPPING),
    ]
    assert heard[1] == Happening(What.OTHER, first, EVENTS[1]["timeNano"])


@pytest.mark.parametrize("state", ["created", "restarting", "removing", "exited", "dead", "unheard of", None])
def test_one_that_is_not_up(state: str | None) -> None:
    """Only running and paused ones are containers to us."""
    assert container({**FIRST, "State": state}) is None


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"Names": ["/other/alias", "/own"]}, {"name": "own"}),
        ({"Names": []}, {"name": FIRST["Id"][:12]}),
        ({"Names": ["/" + "x" * 129]}, {"name": FIRST["Id"][:12]}),
        (
            {"Labels": {"igw.deployment": "x", "igw.organization": "acme"}},
            {"organization": "acme", "project": None},
        ),
        ({"NetworkSettings": None}, {"addresses": {}}),
        (
            {
                "NetworkSettings": {
                    "Networks": {"six": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}, "odd": 1}
                }
            },
            {"addresses": {"six": "fd00::2", "odd": ""}},
        ),
    ],
)
def test_fields(changed: dict[str, Any], expected: dict[str, Any]) -> None:
    """A container's own name, its labels, IPv6 where there is no IPv4."""
    found = container({**FIRST, **changed})
    assert {field: getattr(found, field) for field in expected} == expected


@pytest.mark.parametrize("labels", [{}, {"igw.deployment": ""}, {"igw.deployment": 1}, None])
def test_no_label(labels: Any) -> None:
    """Without our label it is nobody's replica."""
    assert container({**FIRST, "Labels": labels}) is None


@pytest.mark.parametrize("signal", ["15", "2", "3", "9", "37", "SIGTERM", "RTMIN+3", ""])
def test_signals_that_stop(signal: str) -> None:
    """Any may be an image's own STOPSIGNAL."""
    assert killed(signal) is What.STOPPING


@pytest.mark.parametrize("signal", [*sorted(HARMLESS), "SIGHUP", "sigusr1"])
def test_signals_that_do_not(signal: str) -> None:
    """These ask for something else."""
    assert killed(signal) is None


def killed(signal: str) -> What | None:
    """Give what a kill with a signal is."""
    event = json.loads(json.dumps(EVENTS[8]))
    assert event["Action"] == "kill"
    event["Actor"]["Attributes"]["signal"] = signal
    heard = happening(event)
    return None if heard is None else heard.what


def test_somebody_elses_container() -> None:
    """Events of containers without our label are none of ours."""
    event = {**EVENTS[2], "Actor": {"ID": "x", "Attributes": {"name": "other"}}}
    assert happening(event) is None


@given(JSON, st.sampled_from([*FIRST, "Type", "Action", "Actor", "timeNano"]), JSON)
def test_anything(document: Any, key: str, value: Any) -> None:
    """Whatever the engine says, it is read or left out, and nothing is raised."""
    for odd in (document, {**FIRST, key: value}):
        container(odd)
        happening(odd)
    for event in EVENTS:
        happening({**event, key: value})


def test_shown() -> None:
    """Somebody's text is logged short and printable."""
    assert shown("llama") == "llama"
    assert shown("a\n\x1b[31mb") == "'a\\n\\x1b[31mb'"
    assert len(shown("x" * 1000)) == 128


def test_the_compose_project_of_one_container() -> None:
    """Told by its labels; none for what is no container, or is in no project."""
    assert compose_project([FIRST]) == "demo"
    others: list[Any] = [[], [FIRST, FIRST], [{**FIRST, "Labels": None}], [{**FIRST, "Labels": {}}], {}, None]
    for other in others:
        assert compose_project(other) is None
