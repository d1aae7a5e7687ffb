"""What is done to the stack while clients count, how it is mended, what may fail for it, and the table of it all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.compose.counting import CLIENTS
from tests.compose.stack import ROOT, Stack, eventually

Deed = Callable[[Stack], object]
IN_FLIGHT = CLIENTS
"""Each client has one request under way: no more can be on what is killed."""
LIMITED = "wandb.localhost"
"""The gateway whose projects have limits: each of its requests is counted, in Redis while that is there."""
SLOW_SECONDS = 0.2
GUIDE = ROOT / "docs" / "deploy.md"
BEGIN, END = "<!-- faults:begin -->\n", "<!-- faults:end -->"


def nothing(_: Stack) -> None:
    """Mend nothing: the deed leaves all well."""


@dataclass(frozen=True)
class Fault:
    """`allowed` requests of `model` may fail; None: any number until a while after it is mended.

    `slowest` is the longest that an answer may take, in seconds. `hold` is how long it stays as it is.
    """

    name: str
    do: Deed
    mend: Deed = nothing
    allowed: int | None = 0
    slowest: float = 3.0
    hold: float = 1.5
    host: str = "localhost"
    model: str = "demo/small"
    form: bool = False
    """Clients send forms, which extproc reads; JSON is read by Envoy."""
    why: str = ""


@dataclass(frozen=True)
class Row:
    """What was seen of a fault; seconds."""

    fault: Fault
    requests: int
    failed: int
    failing: float
    slowest: float


def paused(  # noqa: PLR0913 - a row of the table
    service: str,
    title: str,
    *,
    hold: float,
    slowest: float,
    why: str,
    allowed: int = 0,
    host: str = "localhost",
) -> Fault:
    """Give the fault of a container that is frozen, and goes on."""
    return Fault(
        f"freeze {title} for {hold:.0f} s",
        lambda stack: stack.container(service).pause(),
        lambda stack: stack.container(service).unpause(),
        allowed,
        hold=hold,
        slowest=slowest,
        host=host,
        why=why,
    )


def killed(  # noqa: PLR0913 - a row of the table
    service: str,
    title: str,
    *,
    allowed: int | None = 0,
    slowest: float = 3.0,
    host: str = "localhost",
    model: str = "demo/small",
    why: str = "",
) -> Fault:
    """Give the fault of a container that is killed, as by `docker kill`, and started again."""
    return Fault(
        f"kill {title}",
        lambda stack: stack.container(service).kill(),
        lambda stack: stack.container(service).start(),
        allowed,
        slowest,
        host=host,
        model=model,
        why=why,
    )


def restarted(service: str, title: str, *, host: str = "localhost", why: str = "") -> Fault:
    """Give a restart in good order."""
    return Fault(
        f"restart {title}", lambda stack: stack.container(service).restart(timeout=10), host=host, why=why
    )


def with_forms(fault: Fault) -> Fault:
    """Give a fault that is met by clients which send forms."""
    return replace(fault, name=f"{fault.name}, forms", form=True)


def slow_redis(hold: float) -> Fault:
    """Give the fault of a Redis that is busy for so long each time before it answers anybody."""
    busy = (
        "local function now() local t = redis.call('TIME'); return t[1] + t[2] / 1e6 end; "
        f"local till = now() + {SLOW_SECONDS}; repeat until now() >= till"
    )
    times = str(round(hold / SLOW_SECONDS))
    return Fault(
        f"let `redis` answer every {SLOW_SECONDS} s only, for {hold:.0f} s",
        lambda stack: stack.container("redis").exec_run(
            ["redis-cli", "-r", times, "EVAL", busy, "0"], detach=True
        ),
        hold=hold,
        slowest=2.0,
        host=LIMITED,
        why="it is left alone for a while",
    )


def another_authority(stack: Stack) -> None:
    """Have another authority than before issue all certificates anew, at once rather than in steps."""
    container = stack.container("certificates")
    container.exec_run(["sh", "-c", "rm /var/lib/igw/ca.*"])
    container.restart(timeout=5)
    eventually(lambda: container.exec_run(["test", "-e", "/tmp/issued"]).exit_code == 0, 60)  # noqa: S108 - its own


def scaled(service: str, count: int, title: str) -> Fault:
    """Give a change of the number of a service's containers."""
    return Fault(title, lambda stack: stack.scale(service, count))


FAULTS = (
    scaled("llama", 3, "scale `llama` from 1 to 3"),
    paused("llama", "one `llama` of 3", hold=2, slowest=5, why="what was under way on it waits for it"),
    killed("llama", "one `llama` of 3", allowed=IN_FLIGHT, why="what was under way on it"),
    scaled("llama", 1, "scale `llama` from 3 to 1"),
    killed(
        "llama-canary",
        "the only `llama-canary`",
        allowed=IN_FLIGHT,
        why="what was under way on it; `llama` gets its share",
    ),
    killed(
        "mistral",
        "the only `mistral`",
        allowed=None,
        slowest=6,
        model="demo-large",
        why="503, after a wait for a connection at most: nobody else has that model",
    ),
    Fault(
        "another authority for all `certificates`",
        another_authority,
        why="connections that are open go on; those to come are made with the new certificates",
    ),
    killed("extauth", "one `extauth` of 2"),
    paused(
        "extauth",
        "one `extauth` of 2",
        hold=6,
        slowest=4,
        why="found within two seconds; what waited is asked anew",
    ),
    restarted("extauth", "one `extauth` of 2"),
    with_forms(
        killed(
            "extproc",
            "one `extproc` of 2",
            allowed=IN_FLIGHT,
            why="exchanges half done on it: 503, Retry-After",
        )
    ),
    with_forms(
        paused(
            "extproc",
            "one `extproc` of 2",
            hold=6,
            slowest=4,
            why="found within two seconds; exchanges half done on it: 503, Retry-After",
            allowed=IN_FLIGHT,
        )
    ),
    with_forms(restarted("extproc", "one `extproc` of 2")),
    killed("collector", "the `collector`", why="Envoys tell it later what requests used"),
    paused("collector", "the `collector`", hold=3, slowest=3, why="the same"),
    killed(
        "authority", "the `authority`", why="tokens that are known pass, for ten minutes after their time too"
    ),
    killed("control-plane", "the `control-plane`", why="Envoys go on with what they have"),
    restarted("control-plane", "the `control-plane`"),
    killed("docker-proxy", "the `docker-proxy`", why="what is known of containers stays"),
    killed("envoy-1", "`envoy-1` of 2", allowed=IN_FLIGHT, why="what was under way on it"),
    Fault(
        "replace `envoy-1` by a new container",
        lambda stack: stack.compose("up", "--detach", "--no-deps", "--force-recreate", "envoy-1"),
    ),
    killed(
        "redis",
        "`redis`",
        slowest=2.0,
        host=LIMITED,
        why="each `extauth` counts on its own until it is back, concurrency is not limited",
    ),
    restarted("redis", "`redis`", host=LIMITED, why="counts begin anew"),
    paused("redis", "`redis`", hold=3, slowest=2, host=LIMITED, why="found within a second"),
    slow_redis(3),
    scaled("extauth", 1, "scale `extauth` from 2 to 1"),
    killed("extauth", "the only `extauth`", allowed=None, why="503: closed, not open"),
    scaled("extauth", 2, "scale `extauth` from 1 to 2"),
)


def table(rows: Sequence[Row]) -> str:
    """Give the table in Markdown."""
    lines = [
        "| what happens | requests | failed | may fail | failing for | slowest answer | |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.fault.name} | {row.requests} | {row.failed} | {may_fail(row.fault)} | {row.failing:.1f} s "
        f"| {row.slowest:.1f} s | {row.fault.why} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def may_fail(fault: Fault) -> str:
    """Say how many may fail."""
    return "until it is back" if fault.allowed is None else str(fault.allowed)


def written(rows: Sequence[Row]) -> None:
    """Put the table into the guide, between its marks."""
    before, rest = GUIDE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    GUIDE.write_text(before + BEGIN + table(rows) + END + after, encoding="utf-8")


def documented() -> list[tuple[str, str]]:
    """Give the guide's faults, and how many may fail for each."""
    text = GUIDE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return [(row[0], row[3]) for row in cells]
