"""Names that a snapshot withholds: who has one keeps it, who lacks it does not get it; both transports."""

from typing import Any

import pytest
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, Snapshot

from tests.unit.xds_stream.builders import (
    DeltaStream,
    SotwStream,
    ack,
    content,
    delta,
    nack,
    sent,
    sotw,
    world,
)

WANTED = {CLUSTER: (), ENDPOINTS: ("a", "b"), LISTENER: (), SCOPE: (), ROUTES: ("q", "r")}
ALL = world(
    clusters=["a", "b"],
    endpoints=["a", "b"],
    listeners=["l"],
    scopes=["s", "t"],
    routes=["q", "r"],
    needs={"r": "b"},
)


@pytest.fixture(params=["delta", "sotw"])
def stream(request: pytest.FixtureRequest) -> Any:
    """Give a stream of either transport."""
    return DeltaStream() if request.param == "delta" else SotwStream()


def ask(stream: Any) -> list[tuple[str, list[str], list[str]]]:
    """Ask for all, accept it, and give what came."""
    found = []
    for type_url, names in WANTED.items():
        is_delta = isinstance(stream, DeltaStream)
        request = delta(type_url, subscribe=names) if is_delta else sotw(type_url, *names)
        found += accept(stream, stream.receive(request))
    return found


def accept(stream: Any, responses: list[Any]) -> list[tuple[str, list[str], list[str]]]:
    """Accept responses and all that follow, and give them."""
    found = []
    while responses:
        found += sent(responses[:1])
        responses = [*responses[1:], *stream.receive(ack(responses[0], *WANTED[responses[0].type_url]))]
    return found


def without(names: dict[str, str]) -> Snapshot:
    """Give the snapshot with these names, by type URL, withheld."""
    drop = {type_url: [name] for type_url, name in names.items()}
    return ALL.changed({}, drop, {type_url: frozenset(gone) for type_url, gone in drop.items()})


@pytest.mark.parametrize(
    ("type_url", "name"), [(CLUSTER, "a"), (ENDPOINTS, "a"), (SCOPE, "s"), (ROUTES, "q")]
)
def test_who_has_it_keeps_it(stream: Any, type_url: str, name: str) -> None:
    """It is not removed, whatever else changes; and it counts as in step."""
    stream.publish(ALL)
    ask(stream)
    held = without({type_url: name})
    assert accept(stream, stream.publish(held)) == []
    changed = held.changed({type_url: [content("new")]}, {}, held.withheld)
    for _, names, removed in accept(stream, stream.publish(changed)):
        assert (names == ["new:1"] or f"{name}:1" in names, removed) == (True, [])
    assert name in stream.acked[type_url]
    assert stream.synced


@pytest.mark.parametrize(
    ("type_url", "name"), [(CLUSTER, "a"), (ENDPOINTS, "a"), (SCOPE, "s"), (ROUTES, "q")]
)
def test_who_lacks_it_does_not_get_it(stream: Any, type_url: str, name: str) -> None:
    """A new client has all else, and is in step; one that asks by name is told that there is none."""
    stream.publish(without({type_url: name}))
    ask(stream)
    assert name not in stream.acked[type_url]
    assert stream.synced


def test_what_it_needs_is_kept_with_it(stream: Any) -> None:
    """Routes that a client keeps lead to their clusters, though these are defined no more; that is in step, too."""
    stream.publish(ALL)
    ask(stream)
    held = without({ROUTES: "r"}).changed({}, {CLUSTER: ["b"]}, {ROUTES: frozenset({"r"})})
    assert accept(stream, stream.publish(held)) == []
    assert "b" in stream.acked[CLUSTER]
    assert stream.synced
    released = held.changed({ROUTES: [content("r", 2)]}, {})
    assert accept(stream, stream.publish(released))[0] == ("routes", ["r:2"], [])
    assert "b" not in stream.acked[CLUSTER]


def test_what_is_withheld_and_unknown_keeps_no_cluster() -> None:
    """Endpoints name no cluster, whatever version of them a returning client has."""
    stream = DeltaStream(reference=lambda: ALL)
    held = without({ENDPOINTS: "a"})
    stream.publish(held)
    known = {t: {n: r.version for n, r in ALL.of(t).items()} for t in WANTED}
    known[ENDPOINTS]["a"] = content("a", 9).version
    for type_url, names in WANTED.items():
        accept(stream, stream.receive(delta(type_url, subscribe=names, known=known[type_url])))
    gone = held.changed({}, {CLUSTER: ["b"], ENDPOINTS: ["b"], ROUTES: ["r"]}, held.withheld)
    assert ("clusters", [], ["b"]) in accept(stream, stream.publish(gone))


def test_what_was_refused_and_withheld_is_sent_again_when_it_is_back() -> None:
    """Though it is the same: it may be good now."""
    stream = DeltaStream()
    stream.publish(ALL)
    ask(stream)
    newer = ALL.changed({ROUTES: [content("q", 2)]}, {})
    [refused] = stream.publish(newer)
    assert stream.receive(nack(refused)) == []
    assert stream.publish(newer.changed({}, {ROUTES: ["q"]}, {ROUTES: frozenset({"q"})})) == []
    assert accept(stream, stream.publish(newer)) == [("routes", ["q:2"], [])]
    assert stream.synced


def test_what_was_refused_with_another_and_withheld_is_sent_again_when_it_is_back() -> None:
    """It was never tried alone."""
    stream = DeltaStream()
    stream.publish(ALL)
    ask(stream)
    newer = ALL.changed({ROUTES: [content("q", 2), content("r", 2)]}, {})
    [refused] = stream.publish(newer)
    assert stream.publish(newer.changed({}, {ROUTES: ["q"]}, {ROUTES: frozenset({"q"})})) == []
    assert accept(stream, stream.receive(nack(refused))) == [("routes", ["r:2"], [])]
    assert accept(stream, stream.publish(newer)) == [("routes", ["q:2"], [])]
    assert stream.synced
