"""The files beside an Envoy: whose they are, and when they are written again."""

import asyncio
import stat
from pathlib import Path

import pytest
from igw_certs.authority import Authority
from igw_certs.contexts import Credentials, ServerTls
from igw_certs.identity import Identity, Role
from igw_cli import credentials
from igw_cli.credentials import EnvoySecrets

pytestmark = pytest.mark.asyncio


class Proxy:
    """A proxy's certificate, and what its Envoy reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority.kept(folder / "authority", "gw.test")
        self.tls = ServerTls(folder / "crt", folder / "key", folder / "authority" / "ca.crt", "gw.test")
        self.renew()

    def renew(self) -> None:
        pair = self.authority.issue_identity(Identity(Role.PROXY, "east"))
        self.tls.cert.write_bytes(pair.chain)
        self.tls.key.write_bytes(bytes(pair.key))

    def read(self) -> str:
        """Give what Envoy reads of its identity."""
        return (self.folder / "igw-tls" / "igw-identity.json").read_text()


@pytest.fixture(name="proxy")
def _proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    monkeypatch.setattr(credentials, "LOOK_SECONDS", 0.01)
    return Proxy(tmp_path)


async def test_they_are_the_owners_alone(proxy: Proxy) -> None:
    """One of them holds the key."""
    EnvoySecrets(Credentials(proxy.tls), proxy.folder)
    found = proxy.folder / "igw-tls"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in found.iterdir()} == {0o600}


async def test_a_renewed_pair_is_written_and_a_broken_one_is_not(proxy: Proxy) -> None:
    """Whole, by a new file in the old one's place, which Envoy notices."""
    secrets = EnvoySecrets(Credentials(proxy.tls, 0), proxy.folder)
    following = asyncio.create_task(secrets.follow())
    first = proxy.read()
    proxy.tls.key.write_text("half a k")
    await asyncio.sleep(0.1)
    assert proxy.read() == first
    proxy.renew()
    async with asyncio.timeout(5):
        while proxy.read() == first:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)
    following.cancel()
