"""What gets into the logs of a process."""

import json
import subprocess
import sys

FAILING = """
import asyncio
import structlog
from igw_ops import logs

async def fail():
    token = "s3cret".upper()
    raise RuntimeError("it broke")

async def main():
    task = asyncio.create_task(fail())
    await asyncio.wait([task])

logs.configure("test")
asyncio.run(main())
try:
    asyncio.run(fail())
except RuntimeError:
    structlog.get_logger().exception("caught")
"""


def test_no_local_variable_is_logged() -> None:
    """An exception that nobody expected, caught or lost in a task, is logged with its lines and no variable's value."""
    done = subprocess.run(
        [sys.executable, "-c", FAILING], capture_output=True, text=True, check=True, timeout=60
    )
    logged = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["level"], "RuntimeError: it broke" in line["exception"]) for line in logged] == [
        ("error", True)
    ] * 2
    assert ("S3CRET" in done.stdout, done.stderr) == (False, "")
