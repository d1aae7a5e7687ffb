"""The OpenAPI document, as YAML and JSON, and a page to read and try it; every asset is served from here."""

from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import yaml
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-standalone-preset.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Inference API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="api"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/swagger-ui-standalone-preset.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset.slice(1)],
});
"""
_POLICY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
}


def openapi_text() -> str:
    """Give the OpenAPI document as it is written, YAML."""
    return files("igw_api").joinpath("openapi.yaml").read_text(encoding="utf-8")


@cache
def openapi() -> dict[str, Any]:
    """Give the OpenAPI document."""
    document: dict[str, Any] = yaml.safe_load(openapi_text())
    return document


def reference_routes() -> list[BaseRoute]:
    """Give the routes of the document and its page; they need no token."""

    async def as_json(_: Request) -> Response:
        return Response(msgspec.json.encode(openapi()), media_type="application/json")

    async def as_yaml(_: Request) -> Response:
        return Response(openapi_text(), media_type="application/yaml")

    async def page(_: Request) -> Response:
        return Response(_PAGE, media_type="text/html", headers=_POLICY)

    async def start(_: Request) -> Response:
        return Response(_START, media_type="text/javascript", headers=_POLICY)

    return [
        Route("/openapi.json", as_json),
        Route("/openapi.yaml", as_yaml),
        Route("/docs", page),
        Route("/docs/start.js", start),
        *(_asset(name, media_type) for name, media_type in ASSETS.items()),
    ]


def _asset(name: str, media_type: str) -> BaseRoute:
    async def answer(_: Request) -> Response:
        return FileResponse(_swagger_files() / name, media_type=media_type, headers=_POLICY)

    return Route(f"/docs/{name}", answer)


def _swagger_files() -> Path:
    """Find the files of swagger-ui-py without importing it: we need none of its code."""
    found = find_spec("swagger_ui")
    if found is None or found.origin is None:
        raise FileNotFoundError("swagger-ui-py is not installed")
    return Path(found.origin).parent / "static"
