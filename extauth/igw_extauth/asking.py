"""How others are asked over HTTP, whoever they are: what our clients never do, and how much of an answer they read."""

from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx


def asking_client(timeout: httpx.Timeout, limits: httpx.Limits, *, http2: bool = False) -> httpx.AsyncClient:
    """Make a client: TLS verified, no redirects, no cookies, bounded connections."""
    return httpx.AsyncClient(
        http2=http2,
        timeout=timeout,
        limits=limits,
        # One caller's session must not speak for the next caller's token.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        # Unpacked bodies could not be bounded before they are unpacked.
        headers={"accept": "application/json", "accept-encoding": "identity"},
        follow_redirects=False,
    )


async def bounded_body(response: httpx.Response, most: int) -> bytes | None:
    """Give the body, or None when it has more bytes than `most`."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)
