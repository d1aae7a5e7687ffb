"""What an Envoy shows and whom it trusts, kept beside it: files that it reads again whenever they are replaced.

Envoy's own way of following certificates misses files that are written in place, and may see a new certificate beside
the old key. Here a pair is whole and fits, or what was before it stays.
"""

import asyncio
from pathlib import Path

import structlog
from igw_certs.contexts import Credentials, Material
from igw_ops.private import write_private
from igw_xds.resources.mutual_tls import FOLDER, secret_files

LOOK_SECONDS = 0.5

log = structlog.get_logger(__name__)


class EnvoySecrets:
    """The files of one Envoy, below the folder that it runs in, which is to be its owner's alone."""

    def __init__(self, credentials: Credentials, folder: Path) -> None:
        """Write them. Raises OSError."""
        self._credentials = credentials
        self._folder = folder / FOLDER
        self._folder.mkdir(mode=0o700)
        self._write(credentials.current())

    async def follow(self) -> None:
        """Write them again as they change, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            material = self._credentials.current()
            if material is self._material:
                continue
            try:
                self._write(material)
            except OSError as error:
                log.error("a renewed certificate cannot be given to envoy", error=str(error))  # noqa: TRY400 - says it all

    def _write(self, material: Material) -> None:
        files = secret_files(material.pair.chain, material.pair.key, material.authorities)
        for name, text in files.items():
            write_private(self._folder / name, text)
        self._material = material
