"""Who one of our processes is: a role and a zone in a certificate's URI, and out of it again. Pure.

The form is that of SPIFFE (https://spiffe.io/docs/latest/spiffe-specs/x509-svid/): one URI in the subject's alternative
names, its path of plain letters. Whether the certificate is trusted is asked where connections are made, not here.
"""

import re
from dataclasses import dataclass

from cryptography import x509

from igw_certs.pair import UNREADABLE
from igw_certs.role import Role as Role

TRUST_DOMAIN = "igw.internal"
"""Where nothing else is set."""
_TRUST_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?")
_ZONE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,255}")
_PATH = re.compile(r"/igw/(?P<role>[a-z]+)(/zone/(?P<zone>[^/]+))?")


@dataclass(frozen=True, slots=True)
class Identity:
    """A role, and the zone that it is held in; '' for one that is not of a zone.

    Zones are compared without regard to case, so it is kept in lower case. Raises ValueError for one that cannot stand
    in a URI: the model's zones may be any text, SPIFFE's paths not.
    """

    role: Role
    zone: str = ""

    def __post_init__(self) -> None:
        if self.zone and not _ZONE.fullmatch(self.zone):
            raise ValueError(
                f"the zone {self.zone!r} cannot stand in a certificate: letters, digits, '.', '_' and '-' can"
            )
        object.__setattr__(self, "zone", self.zone.lower())

    def uri(self, trust_domain: str) -> str:
        """Give the one URI of this identity."""
        zone = f"/zone/{self.zone}" if self.zone else ""
        return f"spiffe://{trust_domain}/igw/{self.role}{zone}"


def checked_trust_domain(text: str) -> str:
    """Give a trust domain back. Raises ValueError: lower-case letters, digits, '.', '_' and '-'."""
    if not _TRUST_DOMAIN.fullmatch(text):
        raise ValueError(
            f"{text!r} is no trust domain: use lower-case letters, digits, '.', '_' and '-', as in {TRUST_DOMAIN}"
        )
    return text


def identity_of(der: bytes, trust_domain: str) -> Identity | None:
    """Read who a verified peer is; None for one that is nobody of ours: no URI, several, another form or domain."""
    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        uris = _alternative_names(extensions)
        if len(uris) != 1 or _is_authority(extensions):
            return None
    except UNREADABLE:
        return None
    return _identity(uris[0], trust_domain)


def _alternative_names(extensions: x509.Extensions) -> list[str]:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _is_authority(extensions: x509.Extensions) -> bool:
    """SPIFFE: who may sign for others is no leaf."""
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _identity(uri: str, trust_domain: str) -> Identity | None:
    begin = f"spiffe://{trust_domain}"
    found = _PATH.fullmatch(uri.removeprefix(begin)) if uri.startswith(f"{begin}/") else None
    if found is None:
        return None
    try:
        return Identity(Role(found["role"]), found["zone"] or "")
    except ValueError:
        return None
