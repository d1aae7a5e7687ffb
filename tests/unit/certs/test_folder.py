"""Folders as certbot and Kubernetes write them are read, and followed: what breaks leaves what was."""

import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from igw_certs import folder as folders
from igw_certs.files import MOST_BYTES
from igw_certs.folder import Bad, Certificate, Watched, scan
from igw_certs.pair import KeyPair, read_pair

from tests.unit.certs.signing import NOW, Signed, signed, write

ONE, TWO, THREE = signed("one.com"), signed("two.com"), signed("three.com")
MISMATCH = "the key is not that of the first certificate"


def pair(one: Signed) -> KeyPair:
    """Give the pair of a certificate."""
    return read_pair(one.chain, one.secret)


def kubernetes(one: Signed) -> dict[str, bytes]:
    """Give files as a secret of the type kubernetes.io/tls has them."""
    return {"tls.crt": one.chain, "tls.key": one.secret}


class Certbot:
    """The folder of certbot: `live` links to numbered files in `archive`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.live, self.archive = folder / "live" / name, folder / "archive" / name
        self.number = 0
        write(folder / "live", {"README": b"keep your keys"})
        self.live.mkdir(exist_ok=True)

    def renew(self, one: Signed, *parts: str) -> None:
        """Write the next number, and point the links there, or only some."""
        self.number += 1
        contents = {"fullchain": one.chain, "privkey": one.secret, "cert": one.chain, "chain": one.chain}
        write(self.archive, {f"{part}{self.number}.pem": data for part, data in contents.items()})
        for part in parts or contents:
            link = self.live / f"{part}.pem"
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../archive/{self.live.name}/{part}{self.number}.pem")


class Mounted:
    """A secret as a kubelet mounts it: a folder of its own, and links by way of `..data`, which is replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    def renew(self, one: Signed) -> None:
        """Write the next folder and swap."""
        self.number += 1
        write(self.folder / f"..{self.number}", kubernetes(one))
        (self.folder / "..new").symlink_to(f"..{self.number}")
        (self.folder / "..new").replace(self.folder / "..data")
        for name in kubernetes(one):
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        shutil.rmtree(self.folder / f"..{self.number - 1}", ignore_errors=True)


class Scene:
    """A folder that is followed, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.seconds, self.now = 0.0, NOW
        self.watched = Watched(folder, 0.5, lambda: self.seconds, lambda: self.now)

    def look(self) -> bool:
        """Look again, once that is due."""
        self.seconds += 0.5
        return self.watched.refresh()

    def served(self, name: str) -> Certificate:
        """Give what is served under a name."""
        return self.watched.state()[name]


def test_the_folder_of_certbot(tmp_path: Path) -> None:
    """Pointed at itself or at `live`; what else lies there is nothing."""
    Certbot(tmp_path, "one.com").renew(ONE)
    Certbot(tmp_path, "two.com").renew(TWO)
    both = {"one.com": pair(ONE), "two.com": pair(TWO)}
    assert scan(tmp_path) == both
    assert scan(tmp_path / "live") == both


def test_the_folder_of_secrets(tmp_path: Path) -> None:
    """One folder a secret; Kubernetes' own folders are no secrets."""
    Mounted(tmp_path / "one").renew(ONE)
    write(tmp_path / "two", kubernetes(TWO))
    write(tmp_path / "empty", {})
    write(tmp_path / ".hidden", kubernetes(THREE))
    write(tmp_path, {"note.txt": b"-"})
    assert scan(tmp_path) == {"one": pair(ONE), "two": pair(TWO)}


def test_a_folder_that_is_one_pair(tmp_path: Path) -> None:
    """It has the folder's name; folders in it are pairs too, one of the same name as well."""
    folder = tmp_path / "edge"
    Mounted(folder).renew(ONE)
    assert scan(folder) == {"edge": pair(ONE)}
    write(folder / "two", kubernetes(TWO))
    assert scan(folder) == {"edge": pair(ONE), "two": pair(TWO)}
    write(folder / "edge", kubernetes(THREE))
    assert scan(folder) == {".": pair(ONE), "edge": pair(THREE), "two": pair(TWO)}


def test_what_is_broken_has_a_reason(tmp_path: Path) -> None:
    """Each pair by itself: the others are read."""
    write(tmp_path / "good", kubernetes(ONE))
    write(tmp_path / "half", {"tls.crt": ONE.chain})
    write(tmp_path / "keyless", {"fullchain.pem": ONE.chain, "tls.crt": b""})
    write(tmp_path / "mismatch", kubernetes(ONE) | {"tls.key": TWO.secret})
    write(tmp_path / "large", kubernetes(ONE) | {"tls.crt": ONE.chain + b"\n" * MOST_BYTES})
    (write(tmp_path / "folder", {"tls.key": b""}) / "tls.crt").mkdir()
    os.mkfifo(write(tmp_path / "pipe", {"tls.key": b""}) / "tls.crt")
    (write(tmp_path / "loop", {"tls.key": b""}) / "tls.crt").symlink_to("tls.crt")
    (write(tmp_path / "gone", {"tls.key": b""}) / "tls.crt").symlink_to("nowhere")
    assert scan(tmp_path) == {
        "good": pair(ONE),
        "half": Bad("tls.key is missing"),
        "keyless": Bad("privkey.pem is missing"),
        "mismatch": Bad(MISMATCH),
        "large": Bad("tls.crt has more than 256 KiB"),
        "folder": Bad("tls.crt is not a file"),
        "pipe": Bad("tls.crt is not a file"),
        "loop": Bad("tls.crt cannot be read: Too many levels of symbolic links"),
        "gone": Bad("tls.crt is missing"),
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a moment")
def test_what_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and the others are read; a link that leads there is none."""
    write(tmp_path / "closed" / "inner", kubernetes(ONE))
    write(tmp_path / "closed", kubernetes(ONE))
    write(tmp_path / "keyless", kubernetes(ONE))
    write(tmp_path / "good", kubernetes(TWO))
    (tmp_path / "link").symlink_to("closed/inner")
    (tmp_path / "keyless" / "tls.key").chmod(0)
    (tmp_path / "closed").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the folders above are closed to others
    os.seteuid(12345)
    try:
        found = scan(Path())
    finally:
        os.seteuid(0)
    assert found == {
        "closed": Bad("fullchain.pem cannot be read: Permission denied"),
        "good": pair(TWO),
        "keyless": Bad("tls.key cannot be read: Permission denied"),
    }


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """It is one bad pair, which says so; an empty one is none at all."""
    assert scan(tmp_path) == {}
    missing = Bad("the folder cannot be listed: No such file or directory")
    assert scan(tmp_path / "certs") == {"certs": missing}
    scene = Scene(tmp_path / "certs")
    assert scene.look()
    assert scene.watched.state() == {"certs": Certificate("certs", None, missing.reason)}
    write(tmp_path / "certs" / "one", kubernetes(ONE))
    assert scene.look()
    assert scene.watched.state() == {"one": Certificate("one", pair(ONE))}


def test_a_hundred_pairs_are_read(tmp_path: Path) -> None:
    """The others say why not; one that was served before others came goes on."""
    write(tmp_path / "pair-200", kubernetes(ONE))
    scene = Scene(tmp_path)
    scene.look()
    for number in range(101):
        write(tmp_path / f"pair-{number:03}", kubernetes(TWO))
    many = Bad(f"more than {folders.MOST_PAIRS} pairs lie in the folder: this one is not read")
    found = scan(tmp_path)
    assert [name for name, one in found.items() if one == pair(TWO)] == [f"pair-{n:03}" for n in range(100)]
    assert {name: one for name, one in found.items() if one != pair(TWO)} == {
        "pair-100": many,
        "pair-200": many,
    }
    scene.look()
    scene.look()
    assert scene.served("pair-200") == Certificate("pair-200", pair(ONE), many.reason)


def test_a_renewal_is_served(tmp_path: Path) -> None:
    """Whoever wrote it, and however the files are swapped; what did not change is the same object."""
    certbot, mounted = Certbot(tmp_path, "bot"), Mounted(tmp_path / "live" / "kube")
    write(tmp_path / "live" / "plain", kubernetes(ONE))
    certbot.renew(ONE)
    mounted.folder.mkdir()
    mounted.renew(ONE)
    scene = Scene(tmp_path)
    assert scene.look()
    assert [scene.look(), scene.look()] == [False, False]
    plain = scene.served("plain").pair
    certbot.renew(TWO)
    mounted.renew(THREE)
    assert scene.look()
    assert scene.watched.state() == {
        "bot": Certificate("bot", pair(TWO)),
        "kube": Certificate("kube", pair(THREE)),
        "plain": Certificate("plain", pair(ONE)),
    }
    assert scene.served("plain").pair is plain
    write(tmp_path / "live" / "plain", kubernetes(TWO))
    assert scene.look()
    assert scene.served("plain") == Certificate("plain", pair(TWO))


def test_it_looks_no_more_often_than_it_is_told_to(tmp_path: Path) -> None:
    """Whoever asks more often pays nothing."""
    scene = Scene(tmp_path)
    scene.look()
    write(tmp_path / "one", kubernetes(ONE))
    scene.seconds += 0.4
    assert not scene.watched.refresh()
    scene.seconds += 0.1
    assert scene.watched.refresh()


def test_a_broken_renewal_keeps_what_was(tmp_path: Path) -> None:
    """With its trouble, until the files are good again."""
    place = write(tmp_path / "one", kubernetes(ONE))
    scene = Scene(tmp_path)
    scene.look()
    for files, trouble in (
        ({"tls.key": TWO.secret}, MISMATCH),
        ({"tls.crt": b""}, "there is no certificate in PEM, or one that cannot be read"),
    ):
        write(place, files)
        scene.look()
        assert scene.look()
        assert scene.served("one") == Certificate("one", pair(ONE), trouble)
        assert not scene.look()
    (place / "tls.key").unlink()
    (place / "tls.crt").unlink()
    scene.look()
    assert scene.look()
    assert scene.served("one") == Certificate("one", pair(ONE), "fullchain.pem is missing")
    write(place, kubernetes(TWO))
    assert scene.look()
    assert scene.served("one") == Certificate("one", pair(TWO))


def test_files_that_are_just_being_replaced_are_no_trouble(tmp_path: Path) -> None:
    """Links are pointed one after the other: between two looks the new chain stands beside the old key."""
    certbot = Certbot(tmp_path, "one")
    certbot.renew(ONE)
    scene = Scene(tmp_path)
    scene.look()
    certbot.renew(TWO, "cert", "fullchain")
    assert not scene.look()
    certbot.number -= 1
    certbot.renew(TWO, "privkey", "chain")
    assert scene.look()
    assert scene.served("one") == Certificate("one", pair(TWO))


def test_trouble_stays_told_while_the_files_go_on_changing(tmp_path: Path) -> None:
    """A write to broken files is not the end of the trouble."""
    place = write(tmp_path / "one", kubernetes(ONE))
    scene = Scene(tmp_path)
    scene.look()
    write(place, {"tls.key": b"no"})
    scene.look()
    scene.look()
    write(place, {"tls.key": b"nor this one"})
    assert not scene.look()
    assert scene.served("one").trouble == "there is no private key in PEM"


def test_what_is_bad_from_the_start_is_told_at_once(tmp_path: Path) -> None:
    """There is nothing to keep, so nothing to wait for."""
    write(tmp_path / "one", {"tls.crt": ONE.chain})
    scene = Scene(tmp_path)
    assert scene.look()
    assert scene.served("one") == Certificate("one", None, "tls.key is missing")


def test_a_pair_that_is_taken_away_is_served_no_more(tmp_path: Path) -> None:
    """Its folder goes: that is meant. The whole folder going is an accident."""
    write(tmp_path / "certs" / "one", kubernetes(ONE))
    write(tmp_path / "certs" / "two", kubernetes(TWO))
    scene = Scene(tmp_path / "certs")
    scene.look()
    shutil.rmtree(tmp_path / "certs" / "one")
    assert scene.look()
    assert scene.watched.state() == {"two": Certificate("two", pair(TWO))}
    (tmp_path / "certs").rename(tmp_path / "elsewhere")
    assert scene.look()
    trouble = "the folder cannot be listed: No such file or directory"
    assert scene.watched.state() == {"two": Certificate("two", pair(TWO), trouble)}
    (tmp_path / "elsewhere").rename(tmp_path / "certs")
    assert scene.look()
    assert scene.watched.state() == {"two": Certificate("two", pair(TWO))}


def test_what_is_expired_does_not_replace_what_is_not(tmp_path: Path) -> None:
    """An old backup put in place would cost all clients; where both are expired the files are right."""
    old, new = signed("a.com", begins=NOW - timedelta(days=100)), signed("a.com", days=1)
    place = write(tmp_path / "a", kubernetes(old))
    scene = Scene(tmp_path)
    scene.look()
    assert scene.served("a") == Certificate("a", pair(old))
    write(place, kubernetes(new))
    scene.look()
    write(place, kubernetes(old))
    assert scene.look()
    trouble = "what lies there now expired at 2026-02-19 12:00 UTC"
    assert scene.served("a") == Certificate("a", pair(new), trouble)
    scene.now += timedelta(days=2)
    assert scene.look()
    assert scene.served("a") == Certificate("a", pair(old))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["one", "two", "key of one", "key of two", "no chain", "empty key", "look"])))
def test_whatever_happens_a_good_pair_is_served(steps: list[str]) -> None:
    """Any history of writes and looks: once there was a pair there is one, and in the end it is that of good files."""
    with tempfile.TemporaryDirectory() as name:
        place = write(Path(name) / "one", kubernetes(ONE))
        scene = Scene(Path(name))
        scene.look()
        files = {
            "one": kubernetes(ONE),
            "two": kubernetes(TWO),
            "key of one": {"tls.key": ONE.secret},
            "key of two": {"tls.key": TWO.secret},
            "no chain": {"tls.crt": b""},
            "empty key": {"tls.key": b""},
            "look": {},
        }
        for step in steps:
            write(place, files[step])
            scene.look()
            assert scene.served("one").pair in {pair(ONE), pair(TWO)}
        write(place, kubernetes(TWO))
        scene.look()
        assert scene.served("one") == Certificate("one", pair(TWO))
