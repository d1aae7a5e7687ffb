"""`make audit`: the locks, what counts as pinned, and the real pip-audit with a database that answers as OSV's does."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from deploy.audit import Looked, Unreached, flaws, looked, main, verdict

ROOT = Path(__file__).parents[2]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
HASH = f"--hash=sha256:{'0' * 64}"
GOOD = f"one==1.0 \\\n    {HASH} \\\n    {HASH}\n    # via two\ntwo[x]==2 ; sys_platform == 'linux' \\\n    {HASH}\n"


@dataclass
class Database:
    """Known vulnerabilities by package, in OSV's format; any other status than 200 is a database out of order."""

    known: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    asked: list[str] = field(default_factory=list)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Answer while the context is open; give the address."""
        database = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = query["package"]["name"]
                database.asked.append(name)
                found = {"vulns": [database.known[name]]} if name in database.known else {}
                self.send_response(database.status)
                self.end_headers()
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
            server.shutdown()


FAULT = {
    "id": "PYSEC-1",
    "affected": [
        {
            "package": {"name": "two", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
        }
    ],
}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_requirement_is_pinned_and_hashed(lock: Path) -> None:
    """What developers and images install is one version each, known by its SHA-256."""
    assert list(flaws(lock.read_text())) == []


def test_what_a_sound_lock_is() -> None:
    """Hashes on lines of their own, comments, extras and markers are as uv writes them."""
    assert list(flaws(GOOD)) == []


@pytest.mark.parametrize(
    ("line", "flaw"),
    [
        (f"one>=1.0 {HASH}", "one>=1.0: not one version"),
        (f"one==1.* {HASH}", "one==1.*: not one version"),
        (f"one {HASH}", "one: not one version"),
        (f"one==1,!=2 {HASH}", "one==1,!=2: not one version"),
        (f"one @ https://example.com/one.whl {HASH}", "one @ https://example.com/one.whl: not one version"),
        ("--index-url https://example.com/", "--index-url https://example.com/: not one version"),
        ("-e .", "-e .: not one version"),
        ("one==1.0", "one==1.0: no SHA-256"),
        ("one==1.0 # no --hash=sha256:", "one==1.0 # no: no SHA-256"),
        ("one==1.0 --hash=md5:0", "one==1.0: no SHA-256"),
        (f"one==1.0 {HASH[:-1]}", "one==1.0: no SHA-256"),
        ("# nothing", "it names nothing"),
    ],
)
def test_what_is_not_pinned_or_hashed_is_found(line: str, flaw: str) -> None:
    """Each is named, though others are sound."""
    sound = "" if line.startswith("#") else GOOD
    assert list(flaws(f"{sound}{line}\n")) == [flaw]


@pytest.fixture
def lock(tmp_path: Path) -> str:
    """A lock of two requirements."""
    path = tmp_path / "some.lock"
    path.write_text(GOOD)
    return str(path)


@pytest.fixture(autouse=True)
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip-audit asks a database as OSV's, and keeps nothing."""
    monkeypatch.setenv("PIP_AUDIT_VULNERABILITY_SERVICE", "osv")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def run(monkeypatch: pytest.MonkeyPatch, database: Database, *arguments: str) -> int:
    """Audit with the real pip-audit; give the exit status."""
    with database.serving() as url:
        monkeypatch.setenv("PIP_AUDIT_OSV_URL", url)
        return main(arguments)


def test_nothing_known(
    lock: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every requirement is asked for, and passes."""
    database = Database()
    assert run(monkeypatch, database, lock) == 0
    assert sorted(database.asked) == ["one", "two"]
    told = capsys.readouterr()
    assert "2 requirements audited, 0 known vulnerabilities" in told.out
    assert "NOT AUDITED" not in told.out + told.err


def test_a_known_vulnerability_fails(
    lock: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, with the version that mends it."""
    assert run(monkeypatch, Database({"two": FAULT}), lock) == 1
    assert "two 2: PYSEC-1, mended in 2.1" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "status"), [([], 0), (["--strict"], 1)])
def test_a_database_that_fails_is_said_loudly(
    options: list[str],
    status: int,
    lock: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The locks themselves are checked all the same; only `--strict` fails for the database."""
    assert run(monkeypatch, Database(status=503), *options, lock) == status
    told = capsys.readouterr()
    assert "pinned and hashed" in told.out
    assert "NOT AUDITED" in told.out
    assert "*** NOT AUDITED" in told.err


def test_a_flaw_fails_without_a_database(
    lock: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A requirement without a hash does not pass because nobody could be asked about it."""
    Path(lock).write_text(f"{GOOD}three>=1\n")
    assert run(monkeypatch, Database(status=503), lock) == 1
    assert "three>=1: not one version" in capsys.readouterr().out


def test_what_the_database_does_not_know_is_not_audited() -> None:
    """pip-audit skips it and says that nothing is known; all skipped is no audit at all."""
    one, two = ({"name": name, "skip_reason": "not found"} for name in ("one", "two"))
    good = {"name": "three", "version": "1", "vulns": []}
    assert looked(json.dumps({"dependencies": [one, two]}), "") == Unreached(
        "the database knows none of 2 requirements"
    )
    some = looked(json.dumps({"dependencies": [one, good]}), "")
    assert some == Looked(1, ("one",))
    lines, passed = verdict("a", [], some, strict=False)
    assert passed
    assert lines[-1] == "a: NOT AUDITED, the database does not know it: one"
    assert not verdict("a", [], some, strict=True)[1]
