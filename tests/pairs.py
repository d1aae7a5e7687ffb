"""Certificates with their keys, put into folders as those do who issue them."""

from pathlib import Path

from cryptography import x509
from igw_certs.pair import KeyPair

CERTBOT = ("fullchain.pem", "privkey.pem")
SECRET = ("tls.crt", "tls.key")
"""As Kubernetes mounts one."""


def write_pair(folder: Path, pair: KeyPair, names: tuple[str, str] = SECRET) -> int:
    """Write a chain and its key under these names, each file replaced whole; give the certificate's serial number."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(names, (pair.chain, bytes(pair.key)), strict=True):
        draft = folder / f".{name}"
        draft.write_bytes(content)
        draft.rename(folder / name)
    return x509.load_pem_x509_certificate(pair.chain).serial_number
