"""What our processes do, as their certificates say it. By itself: help texts list it, and wait for no cryptography."""

from enum import StrEnum


class Role(StrEnum):
    """What a process does; `api` is an operator's tool that calls the others' ports."""

    PROXY = "proxy"
    XDS = "xds"
    EXTAUTH = "extauth"
    EXTPROC = "extproc"
    COLLECTOR = "collector"
    API = "api"
