"""The same check again and again, as fast as it is answered: h2load is the caller."""

import re
import struct
import subprocess
import tempfile
from enum import StrEnum
from pathlib import Path

from envoy.service.auth.v3 import external_auth_pb2
from igw_model.policy import Policy, policy_extensions
from tax.processes import FailedError

from checks.service import LIMITED, OPEN, Service, headers

INSTALL = "apt-get install nghttp2-client"
CLIENTS = 32
_SEEN = re.compile(r"finished in .*?\n.*?(\d+) done, (\d+) succeeded", re.DOTALL)
_STATUS = re.compile(r"status codes: (\d+) 2xx")


class Wire(StrEnum):
    """How a check is asked; our own Envoys ask the first way."""

    HTTP2 = "HTTP/2"
    HTTP1 = "HTTP/1.1"
    GRPC = "gRPC"


def answered(
    h2load: str, extauth: Service, wire: Wire, *, seconds: int, limited: bool = False
) -> tuple[int, float]:
    """Ask for so long; give how many checks were answered, and the seconds. Raises FailedError."""
    policy, token = (LIMITED, extauth.wandb) if limited else (OPEN, extauth.tokens[0])
    streams = ("-c", str(CLIENTS), "--h1") if wire is Wire.HTTP1 else ("-c", "2", "-m", str(CLIENTS // 2))
    with tempfile.NamedTemporaryFile() as file:
        command = [h2load, "-D", str(seconds), "-t", "1", *streams]
        if wire is Wire.GRPC:
            Path(file.name).write_bytes(_message(policy, token))
            command += ["-d", file.name, "-H", "content-type: application/grpc", "-H", "te: trailers"]
            command += [f"http://127.0.0.1:{extauth.grpc}/envoy.service.auth.v3.Authorization/Check"]
        else:
            for name, value in headers(policy, token).items():
                command += ["-H", f"{name}: {value}"]
            command += [f"http://127.0.0.1:{extauth.http}/v1/chat/completions"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    seen, good = _SEEN.search(told), _STATUS.search(told)
    if seen is None or good is None or int(good[1]) < int(seen[1]) * 0.99 or not int(good[1]):
        raise FailedError(f"h2load over {wire} was not answered with 200:\n{told}")
    return int(good[1]), float(seconds)


def _message(policy: Policy, token: str) -> bytes:
    """Give a CheckRequest as gRPC frames it."""
    request = external_auth_pb2.CheckRequest()
    request.attributes.context_extensions.update(policy_extensions(policy))
    request.attributes.request.http.headers["authorization"] = f"Bearer {token}"
    data = request.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data
