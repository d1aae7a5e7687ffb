"""The README's examples, by section."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Give the text under a heading of the second level."""
    [text] = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE)
    return str(text)


def blocks(language: str, text: str) -> list[str]:
    """Give the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


TRY = section("Try it")
COMPOSE = section("Docker Compose")
OWN = section("Your own gateways")
MANAGING = section("Manage it through the API")

CURLS = [curl for block in blocks("sh", TRY) if "curl" in block for curl in block.strip().split("\n\n")]
