"""No token, key or secret where it may not be: logs, metrics, status, caches, the store, Envoy's configuration.

Every kind of token is used in every way, and then all that the parts tell or keep is searched for it.
"""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.real_envoy.running import Running, chat, igw_up
from tests.real_envoy.test_api import Api
from tests.redis_server import RedisServer

GATEWAY = "aaaaaaaa-0000-4000-8000-0000000000aa"
HOST = "keyed.localhost"
UNKNOWN = "CW-SECRET-nobody-has-this-one-0123456789"
UNKNOWN_KEY = "k" * 20 + "-nobody-has-this-one-0123456789"
MALFORMED = "neither-of-the-shapes"
MAY_HOLD_SECRETS = {"demo-tokens.json", "admin-token", "store.key", "identity-secret", "demo.yaml"}


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, shared_cache: RedisServer) -> Iterator[Running]:
    """A demo with Redis and two workers that has seen every kind of token, good and bad."""
    folder: Path = tmp_path_factory.mktemp("secrets")
    environment = {
        "IGW_EXTAUTH_WORKERS": "2",
        "IGW_CACHE_URL": shared_cache.url,
        "IGW_AUTH_SECRET_FILE": str(folder / "state" / "identity-secret"),
        "IGW_LOG_LEVEL": "debug",
        "IGW_AUTH_CACHE_SECONDS": "2",
    }
    with igw_up(folder, "--demo", environment=environment) as running:
        _use(running)
        yield running


def _use(gateway: Running) -> None:
    api = Api(gateway)
    key = {"apiKey": gateway.others("wandb"), "serverUrl": "https://api.wandb.example"}
    api.put(
        "POST",
        "gateways",
        {
            "id": GATEWAY,
            "name": "keyed",
            "zones": ["US-EAST-04A"],
            "weightsAndBiasesAuth": key,
            "bodyBasedRouting": {"apiType": "API_TYPE_OPENAI"},
            "endpointConfiguration": {"additionalDns": [HOST]},
        },
    )
    for name in ("chat", "wandb-chat", HOST):
        for token in _tokens(gateway):
            host = {"Host": HOST} if name == HOST else gateway.headers(name, "")
            headers = {**host, "Authorization": f"Bearer {token}"}
            for path in ("/v1/chat/completions", f"/v1/models/{name}"):
                httpx.post(f"{gateway.ready['ingress']}{path}", json=chat(), headers=headers, timeout=30)
    # Known tokens are looked up again in the background while they are used.
    for _ in range(8):
        assert gateway.post("chat", chat()).status_code == 200
        time.sleep(0.25)
    digest = hashlib.sha256(gateway.others("coreweave").encode()).hexdigest()
    ops = f"http://127.0.0.1:{gateway.option('extauth', '--ops-port')}"
    httpx.post(f"{ops}/revoke", json={"sha256": digest}).raise_for_status()


def _tokens(gateway: Running) -> list[str]:
    own = gateway.ready["tokens"]
    others = [gateway.others("coreweave"), gateway.others("wandb")]
    return [own["coreweave"], own["wandb"], *others, UNKNOWN, UNKNOWN_KEY, MALFORMED]


def _secrets(gateway: Running, folder: Path) -> list[bytes]:
    """Give what must be nowhere: the tokens, as they are and as HTTP Basic has them, and our own secrets."""
    tokens = [*_tokens(gateway), Api(gateway).token]
    basic = [base64.b64encode(f"api:{token}".encode()).decode() for token in tokens]
    return [text.encode() for text in (*tokens, *basic, (folder / "identity-secret").read_text())]


def _found(secrets: list[bytes], places: dict[str, bytes]) -> list[str]:
    return [place for place, content in places.items() if any(secret in content for secret in secrets)]


def test_what_the_parts_tell(used: Running) -> None:
    """Logs, metrics, status and Envoy's configuration; what Envoy logs tells who asked by a short hash."""
    admin = json.loads((used.folder / "state" / "envoy.json").read_text())["admin"]["address"][
        "socket_address"
    ]
    urls = [
        f"http://127.0.0.1:{admin['port_value']}/{page}"
        for page in (
            "config_dump?include_eds",
            "stats",
            "stats/prometheus",
            "clusters",
            "listeners",
            "server_info",
        )
    ]
    urls += [
        f"http://127.0.0.1:{used.option(part, '--ops-port')}/{page}"
        for part in ("xds", "extauth", "extproc")
        for page in ("metrics", "status", "readyz")
    ]
    told = {url: httpx.get(url).content for url in urls}
    told |= {"stdout": _without_examples(used).encode(), "stderr": used.log().encode()}
    told["api"] = Api(used)("GET", f"gateways/{GATEWAY}").content
    secrets = _secrets(used, used.folder / "state")
    assert _found(secrets, told) == []
    assert b'"token":"' in told["stderr"] + told["stdout"]
    for url in told:
        assert told[url], url


def _without_examples(gateway: Running) -> str:
    """Give the output without what `igw up --demo` shows on purpose: the demo's own two tokens, and how to use them."""
    own = gateway.ready["tokens"].values()
    lines = gateway.output().splitlines(keepends=True)
    return "".join(line for line in lines if not line.strip().startswith("curl ") and line.strip() not in own)


def test_what_the_parts_keep(used: Running, shared_cache: RedisServer) -> None:
    """Redis has entries, the store has a key; neither holds a token that could be used, nor a digest of one."""
    client = redis.Redis.from_url(shared_cache.url)
    kept = {str(key): _dumped(client, key) for key in client.scan_iter()}
    assert any("identity" in key for key in kept)
    assert any("limits" in key for key in kept)
    secrets = _secrets(used, used.folder / "state")
    unkeyed = [hashlib.sha256(token.encode()) for token in _tokens(used) if token != used.others("coreweave")]
    digests = [form for digest in unkeyed for form in (digest.digest(), digest.hexdigest().encode())]
    assert _found([*secrets, *digests], kept) == []
    files = {
        str(path): path.read_bytes()
        for path in (used.folder / "state").rglob("*")
        if path.is_file() and path.name not in MAY_HOLD_SECRETS
    }
    assert any(name.endswith(".db") or "store" in name for name in files)
    assert _found(secrets, files) == []


def _dumped(client: Any, key: bytes) -> bytes:
    return key + (client.dump(key) or b"")


def test_what_reaches_model_servers(used: Running) -> None:
    """No server of a model saw a token."""
    answer = used.post("chat", chat())
    assert answer.status_code == 200
    seen = {name: json.dumps(document).encode() for name, document in used.seen().items()}
    assert _found(_secrets(used, used.folder / "state"), seen) == []
