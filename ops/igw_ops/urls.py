"""What may be set as the address of an HTTP server. Pure."""

from urllib.parse import urlsplit


def http_url(text: str) -> str:
    """Give a URL back that is absolute, of HTTP, without a user and a fragment. Raises ValueError.

    The error does not quote it, as the texts of what `urlsplit` and `port` raise do: there may be a password in it.
    """
    try:
        url = urlsplit(text)
        good = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be an absolute http:// or https:// URL")
    if url.username is not None or url.fragment:
        raise ValueError("must have no user and no fragment")
    return text
