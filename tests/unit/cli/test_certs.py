"""`igw certs`: an authority, what it issues to our processes, and what lies in a folder."""

import json
import re
import shlex
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from igw_certs.authority import Authority
from igw_certs.contexts import Credentials, ServerTls
from igw_certs.identity import Identity, Role
from igw_certs.pair import read_pair
from igw_cli.client import Exit

from tests.unit.certs.signing import Signed, signed, write
from tests.unit.cli.program import Done, igw, run

MISMATCH = "the key is not that of the first certificate"


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """Give the folder of an authority."""
    Authority.kept(tmp_path / "ca")
    return tmp_path / "ca"


def issue(ca: Path, out: Path, role: str = "xds", *more: object) -> Done:
    """Issue, and expect that it works."""
    done = run("certs", "issue", "--ca", ca, "--role", role, "--out", out, *more)
    assert done.status == 0, done.err
    return done


def credentials(folder: Path, trust_domain: str = "igw.internal") -> Credentials:
    """Read files as services do."""
    return Credentials(
        ServerTls(folder / "tls.crt", folder / "tls.key", folder / "ca.crt", trust_domain), seconds=0
    )


def told(done: Done) -> dict[str, Any]:
    """Read JSON."""
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_help_waits_for_no_cryptography() -> None:
    """It lists the roles of identities; to read and sign certificates takes a library that is slow to load."""
    loaded = "import igw_cli.certs, sys; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False, timeout=60).returncode == 0
    for role in Role:
        asked = run("certs", "issue", "--role", role, "--ca", "nowhere", "--out", "nowhere-either")
        assert "there is no authority in nowhere" in asked.err


def test_an_authority_is_made_then_shown(tmp_path: Path) -> None:
    """Where it lies, what it signs for, and until when; never its key."""
    folder = tmp_path / "ca"
    made = run("certs", "ca", "--folder", folder, "--trust-domain", "prod.example")
    shown = run("certs", "ca", "--folder", folder)
    assert (made.status, shown.status) == (0, 0)
    authority = Authority.found(folder)
    assert made.lines[0] == f"made an authority in {folder}"
    assert shown.lines == [
        f"the authority in {folder}",
        "  trust domain  prod.example",
        f"  good until    {authority.not_after:%Y-%m-%d}",
        f"  SHA-256       {authority.fingerprint}",
        f"  certificate   {folder / 'ca.crt'}",
    ]
    assert made.lines[1:] == shown.lines[1:]
    assert told(run("certs", "ca", "--folder", folder, "--json")) == {
        "made": False,
        "certificate": str(folder / "ca.crt"),
        "trustDomain": "prod.example",
        "notAfter": authority.not_after.isoformat().replace("+00:00", "Z"),
        "sha256": authority.fingerprint,
    }


def test_an_authority_keeps_its_trust_domain(ca: Path) -> None:
    """Another one is refused, and nothing is changed; its own may be said."""
    before = (ca / "ca.crt").read_bytes()
    done = run("certs", "ca", "--folder", ca, "--trust-domain", "other.example")
    assert (done.status, (ca / "ca.crt").read_bytes()) == (Exit.CONFLICT, before)
    assert "--trust-domain: the authority in" in done.err
    assert "is of igw.internal, and stays that" in done.err
    assert run("certs", "ca", "--folder", ca, "--trust-domain", "igw.internal").status == 0


@pytest.mark.parametrize("role", ["xds", "extauth", "extproc", "collector"])
def test_a_service_is_reached_at_this_machine_unless_told(ca: Path, tmp_path: Path, role: str) -> None:
    """Its certificate names it for clients that look at names, too."""
    done = issue(ca, tmp_path / "out", role)
    assert done.lines[:2] == [
        f"issued spiffe://igw.internal/igw/{role}",
        "  reached at    localhost, 127.0.0.1, ::1",
    ]
    material = credentials(tmp_path / "out").current()
    assert material.identity == Identity(Role(role))
    assert material.authorities == (ca / "ca.crt").read_bytes()
    names = x509.load_pem_x509_certificate(material.pair.chain).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost"]
    assert list(map(str, names.value.get_values_for_type(x509.IPAddress))) == ["127.0.0.1", "::1"]


def test_names_and_addresses_are_as_told(ca: Path, tmp_path: Path) -> None:
    """Then these alone; a proxy has none of its own."""
    service = issue(
        ca,
        tmp_path / "a",
        "extauth",
        "--name",
        "extauth.svc",
        "--name",
        "*.x.svc",
        "--address",
        "10.0.0.1",
        "--json",
    )
    pair = read_pair((tmp_path / "a" / "tls.crt").read_bytes(), (tmp_path / "a" / "tls.key").read_bytes())
    assert told(service) == {
        "issued": True,
        "folder": str(tmp_path / "a"),
        "uri": "spiffe://igw.internal/igw/extauth",
        "hostNames": ["extauth.svc", "*.x.svc"],
        "addresses": ["10.0.0.1"],
        "notAfter": pair.not_after.isoformat().replace("+00:00", "Z"),
    }
    proxy = issue(ca, tmp_path / "b", "proxy", "--zone", "US-EAST-04A", "--days", 7)
    assert [line.split("  ")[0] for line in proxy.lines] == [
        "issued spiffe://igw.internal/igw/proxy/zone/us-east-04a",
        "",
        "",
    ]
    material = credentials(tmp_path / "b").current()
    assert material.identity == Identity(Role.PROXY, "us-east-04a")
    left = material.pair.not_after - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)


def test_who_runs_follows_an_issue_over_the_old_files(ca: Path, tmp_path: Path) -> None:
    """The key is its owner's, nothing else is left, and a service that watches has the new pair."""
    issue(ca, tmp_path / "out")
    watching = credentials(tmp_path / "out")
    before = watching.current().pair
    issue(ca, tmp_path / "out")
    after = watching.current().pair
    assert after.key != before.key
    assert after == read_pair(*((tmp_path / "out" / name).read_bytes() for name in ("tls.crt", "tls.key")))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert modes == {"tls.crt": 0o644, "tls.key": 0o600, "ca.crt": 0o644}


def files(folder: Path) -> dict[str, bytes]:
    """Read what lies in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_timer_writes_nothing_until_it_is_time(ca: Path, tmp_path: Path) -> None:
    """A folder that is not there yet is made; then each run says that it kept the pair, until 30 days are left."""
    out, names = tmp_path / "out", ("--name", "a.svc", "--name", "b.svc")
    first = issue(ca, out, "xds", *names, "--days", 60, "--renew-before", 30, "--json")
    before = files(out)
    kept = issue(ca, out, "xds", "--name", "b.svc", "--name", "a.svc", "--renew-before", 30)
    again = issue(ca, out, "xds", *names, "--renew-before", 30, "--json")
    assert (told(first)["issued"], told(again)) == (True, {**told(first), "issued": False})
    assert kept.lines[0] == "kept spiffe://igw.internal/igw/xds"
    assert files(out) == before
    assert told(issue(ca, out, "xds", *names, "--renew-before", 60, "--json"))["issued"]
    assert files(out)["tls.key"] != before["tls.key"]
    assert issue(ca, out, "xds", *names).lines[0] == "issued spiffe://igw.internal/igw/xds"


def test_a_bundle_of_authorities_is_left_to_a_timer(ca: Path, tmp_path: Path) -> None:
    """Trust goes from one authority to the next by way of a `ca.crt` with both."""
    issue(ca, tmp_path / "out")
    with (tmp_path / "out" / "ca.crt").open("ab") as bundle:
        bundle.write(signed(authority=True).chain)
    before = files(tmp_path / "out")
    assert issue(ca, tmp_path / "out", "xds", "--renew-before", 30).lines[0].startswith("kept ")
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("more", "broken"),
    [
        (("--zone", "a"), {}),
        (("--name", "other.svc"), {}),
        (("--address", "10.0.0.1"), {}),
        ((), {"tls.key": b""}),
        ((), {"tls.key": signed().secret}),
        ((), {"tls.crt": b"-----BEGIN CERTIFICATE-----"}),
        ((), {"ca.crt": b""}),
        ((), {"ca.crt": signed(authority=True).chain}),
        ((), {"tls.crt": (other := signed("localhost")).chain, "tls.key": other.secret}),
    ],
)
def test_what_would_not_be_issued_so_is_issued_anew(
    ca: Path, tmp_path: Path, more: tuple[str, ...], broken: dict[str, bytes]
) -> None:
    """Other options, files that are broken or somebody else's: a timer mends them all."""
    out = tmp_path / "out"
    issue(ca, out)
    write(out, broken)
    assert issue(ca, out, "xds", *more, "--renew-before", 30).lines[0].startswith("issued ")
    assert issue(ca, out, "xds", *more, "--renew-before", 30).lines[0].startswith("kept ")
    assert credentials(out).current().identity.role is Role.XDS


def test_a_pair_of_another_authority_is_issued_anew(ca: Path, tmp_path: Path) -> None:
    """One of the same name, too, as it is when an authority was removed and made again."""
    Authority.kept(tmp_path / "other")
    issue(tmp_path / "other", tmp_path / "out")
    (tmp_path / "out" / "ca.crt").write_bytes((ca / "ca.crt").read_bytes())
    assert issue(ca, tmp_path / "out", "xds", "--renew-before", 30).lines[0].startswith("issued ")


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--role", "root"), Exit.INVALID, "--role"),
        (("--name", "10.0.0.1"), Exit.INVALID, "'10.0.0.1' is no DNS name"),
        (("--address", "localhost"), Exit.INVALID, "'localhost' is not an IP address"),
        (("--days", "0"), Exit.INVALID, "--days"),
        (("--renew-before", "90"), Exit.INVALID, "igw: --renew-before: must be less than --days"),
        (("--zone", "a b"), Exit.INVALID, "igw: --zone: the zone 'a b' cannot stand in a certificate"),
        (
            ("--ca", "nowhere"),
            Exit.NOT_FOUND,
            "igw: --ca: there is no authority in nowhere; make one: igw certs ca",
        ),
        (("--out", "{ca}"), Exit.INVALID, "igw: --out is the folder of --ca"),
        (("--out", "{ca}/ca.crt"), Exit.FAILED, "igw: --out {ca}/ca.crt: File exists"),
        (("--out", "{ca}/ca.crt/x"), Exit.FAILED, "igw: --out {ca}/ca.crt/x: Not a directory"),
    ],
)
def test_what_cannot_be_issued(
    ca: Path, tmp_path: Path, options: tuple[str, str], status: Exit, said: str
) -> None:
    """The option is named, with the way out, and nothing is written."""
    given = {"--ca": str(ca), "--role": "xds", "--out": str(tmp_path / "out")}
    given[options[0]] = options[1].format(ca=ca)
    done = run("certs", "issue", *(part for pair in given.items() for part in pair), COLUMNS="200")
    assert done.status == status
    assert said.format(ca=ca) in done.err
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in ca.iterdir()) == ["ca.crt", "ca.key"]


def test_an_authority_that_others_can_read_issues_nothing(ca: Path, tmp_path: Path) -> None:
    """The way out is in the error."""
    (ca / "ca.key").chmod(0o644)
    done = run("certs", "issue", "--ca", ca, "--role", "xds", "--out", tmp_path / "out")
    assert done.status == Exit.FAILED
    assert f"chmod 600 {ca / 'ca.key'}" in done.err


def host(folder: Path, name: str, one: Signed) -> None:
    """Write a host's pair as certbot names it."""
    write(folder / name, {"fullchain.pem": one.chain, "privkey.pem": one.secret})


def in_days(days: float, *names: str) -> Signed:
    """Give a certificate that ends then; half an hour more, for the time that a test takes."""
    now = datetime.now(UTC).replace(microsecond=0)
    return signed(*names, begins=now - timedelta(days=60), days=60 + days + 1 / 48)


def test_a_folder_is_shown(tmp_path: Path) -> None:
    """Whose, until when, and how that is; exit status 1 when clients would not take one."""
    host(tmp_path, "good", good := in_days(40, "a.com", "*.b.com"))
    host(tmp_path, "soon", soon := in_days(13, "soon.com"))
    done = run("certs", "show", tmp_path)
    assert done.status == 0
    assert done.lines == [
        "NAME  HOST NAMES      NOT AFTER             DAYS LEFT  STATE",
        f"good  a.com, *.b.com  {good.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC  40         good",
        f"soon  soon.com        {soon.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC  13         ends soon",
    ]


@pytest.mark.parametrize(
    ("bad", "days", "state", "trouble"),
    [
        (in_days(-1, "a.com"), -1, "expired", ""),
        (signed("a.com", begins=datetime.now(UTC) + timedelta(days=2), days=20), 21, "not valid yet", ""),
        (in_days(30), 30, "broken", "it is for no DNS name, and nobody's of ours"),
    ],
)
def test_what_cannot_be_served_fails(
    tmp_path: Path, bad: Signed, days: int, state: str, trouble: str
) -> None:
    """As JSON, beside what can be: programs read state and days."""
    host(tmp_path, "bad", bad)
    host(tmp_path, "good", in_days(40, "b.com"))
    done = run("certs", "show", tmp_path, "--json")
    assert done.status == Exit.FAILED
    first, second = told(done)["certificates"]
    assert (first["name"], first["daysLeft"], first["state"], first["trouble"]) == (
        "bad",
        days,
        state,
        trouble,
    )
    assert second == {
        "name": "good",
        "hostNames": ["b.com"],
        "uris": [],
        "notBefore": second["notBefore"],
        "notAfter": second["notAfter"],
        "daysLeft": 40,
        "state": "good",
        "trouble": "",
    }
    assert run("certs", "show", tmp_path).status == Exit.FAILED


def test_broken_files_are_shown_with_the_reason(tmp_path: Path) -> None:
    """And the folder that is not there."""
    host(tmp_path, "mixed", Signed(in_days(40, "a.com").certificate, signed().key))
    done = run("certs", "show", tmp_path)
    assert done.status == Exit.FAILED
    assert done.lines[1].split() == ["mixed", "broken:", *MISMATCH.split()]
    gone = run("certs", "show", tmp_path / "gone")
    assert gone.status == Exit.FAILED
    assert "gone" in gone.out
    assert "the folder cannot be listed: No such file or directory" in gone.out


def test_what_was_issued_is_shown(ca: Path, tmp_path: Path) -> None:
    """A folder of one pair, or of several; a process is shown by its identity."""
    issue(ca, tmp_path / "out" / "edge-1", "proxy", "--zone", "a")
    issue(ca, tmp_path / "out" / "xds", "xds")
    done = run("certs", "show", tmp_path / "out")
    assert (done.status, [line.split()[:3] for line in done.lines[1:]]) == (
        0,
        [
            ["edge-1", "spiffe://igw.internal/igw/proxy/zone/a", done.lines[1].split()[2]],
            ["xds", "spiffe://igw.internal/igw/xds,", "localhost"],
        ],
    )
    assert run("certs", "show", tmp_path / "out" / "xds").lines[1].split()[0] == "xds"


def test_a_folder_without_pairs_says_what_was_looked_for(ca: Path) -> None:
    """The authority's own folder is one: it is none of a host."""
    done = run("certs", "show", ca)
    assert done.status == Exit.NOT_FOUND
    assert (
        "looked for fullchain.pem with privkey.pem (certbot), and tls.crt with tls.key (cert-manager)"
        in done.err
    )


def test_the_commands_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run as they stand, one after the other."""
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[3] / "docs" / "certificates.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        program, *arguments = shlex.split(line, comments=True)
        done = run(*arguments)
        assert (program, done.status) == ("igw", 0), done.err
    assert credentials(tmp_path / "control-plane").current().pair.names == ("xds.internal",)


def test_as_a_program_of_its_own(tmp_path: Path) -> None:
    """From nothing to a checked folder; no key is ever printed."""
    steps = [
        igw("certs", "ca", "--folder", tmp_path / "ca"),
        igw("certs", "issue", "--ca", tmp_path / "ca", "--role", "proxy", "--out", tmp_path / "proxy"),
        igw("certs", "show", tmp_path / "proxy"),
    ]
    assert [(step.returncode, step.stderr) for step in steps] == [(0, "")] * 3
    assert "PRIVATE KEY" not in "".join(step.stdout for step in steps)
