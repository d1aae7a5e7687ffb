"""`igw certs`: a local authority, the key pairs that it issues to our own processes, and what lies in a folder."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from igw_certs.role import Role

from igw_cli.client import Exit, FailedError
from igw_cli.options import ip_address
from igw_cli.session import told
from igw_cli.show import results, write_json
from igw_cli.times import rfc3339

certs = typer.Typer(
    no_args_is_help=True,
    help="Make a local authority, issue our processes' certificates, look into a folder of certificates.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


def _name(text: str) -> str:
    from igw_certs.pair import is_name  # noqa: PLC0415 - the help needs no cryptography

    if not is_name(text):
        raise typer.BadParameter(f"{text!r} is no DNS name, nor one as *.example.com; addresses: --address")
    return text


def _trust_domain(text: str | None) -> str | None:
    from igw_certs.identity import checked_trust_domain  # noqa: PLC0415 - see above

    try:
        return None if text is None else checked_trust_domain(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@certs.command()
def ca(
    folder: Annotated[
        Path, typer.Option(help="Where the authority is kept: ca.crt, and ca.key with mode 0600.")
    ],
    trust_domain: Annotated[
        str | None,
        typer.Option(
            envvar="IGW_TRUST_DOMAIN",
            callback=_trust_domain,
            help="What is before the role in the identities that it issues. Default: igw.internal.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a local authority in a folder, or show the one that is there. Who has its ca.key can be anyone of ours."""
    from igw_certs.authority import CERTIFICATE  # noqa: PLC0415 - see above

    from igw_cli.issuing import kept_authority  # noqa: PLC0415

    with told():
        authority, made = kept_authority(folder, trust_domain)
    certificate = folder / CERTIFICATE
    if as_json:
        write_json(
            {
                "made": made,
                "certificate": str(certificate),
                "trustDomain": authority.trust_domain,
                "notAfter": rfc3339(authority.not_after),
                "sha256": authority.fingerprint,
            }
        )
        return
    typer.echo(f"{'made an authority' if made else 'the authority'} in {folder}")
    typer.echo(f"  trust domain  {authority.trust_domain}")
    typer.echo(f"  good until    {authority.not_after:%Y-%m-%d}")
    typer.echo(f"  SHA-256       {authority.fingerprint}")
    typer.echo(f"  certificate   {certificate}")


@certs.command()
def issue(
    ca: Annotated[Path, typer.Option(help="Folder of the authority, as `igw certs ca` made it.")],
    role: Annotated[Role, typer.Option(help="What the process does; api is for operators' own tools.")],
    out: Annotated[
        Path, typer.Option(help="Folder for tls.crt, tls.key (mode 0600) and ca.crt; made if need be.")
    ],
    zone: Annotated[str, typer.Option(help="Zone that the process is in. Default: none.")] = "",
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DNS",
            callback=lambda names: [_name(text) for text in names or ()],
            help="Name that the service is reached at. Repeatable. Default for services: localhost.",
        ),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IP",
            callback=lambda addresses: [ip_address(text) for text in addresses or ()],
            help="Address that the service is reached at. Repeatable. Default for services: 127.0.0.1 and ::1.",
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is good.")] = 90,
    renew_before: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="DAYS",
            help="Write nothing where --out has what would be issued, good for more than DAYS still: for timers.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Issue the certificate of one of our processes, anew if there is one: who runs follows the files.

    The authority's key stays where it is: take the folder of --out, and no more, to where the process runs.
    """
    from igw_cli import issuing  # noqa: PLC0415

    with told():
        authority, identity = issuing.found_authority(ca), issuing.identity(role, zone)
        if out.resolve() == ca.resolve():
            raise FailedError(
                "--out is the folder of --ca: its key is not to go along with others", Exit.INVALID
            )
        reached = issuing.places(identity.role, name or (), address or ())
        pair, made = issuing.issue(authority, identity, reached, out, days, renew_before)
    names, addresses = reached
    uri = identity.uri(authority.trust_domain)
    if as_json:
        write_json(
            {
                "issued": made,
                "folder": str(out),
                "uri": uri,
                "hostNames": names,
                "addresses": addresses,
                "notAfter": rfc3339(pair.not_after),
            }
        )
        return
    typer.echo(f"{'issued' if made else 'kept'} {uri}")
    if names or addresses:
        typer.echo(f"  reached at    {', '.join((*names, *addresses))}")
    typer.echo(f"  good until    {pair.not_after:%Y-%m-%d}")
    typer.echo(f"  in            {out}")


@certs.command()
def show(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder as certbot, cert-manager or `igw certs issue --out` writes it."),
    ],
    as_json: AsJson = False,
) -> None:
    """Show the key pairs in a folder: for whom, and until when.

    Exit status: 0 all can be served · 1 one is broken, expired or not valid yet · 3 there is none.
    """
    from igw_certs.folder import scan  # noqa: PLC0415 - see above

    from igw_cli.pairs import document, row, table  # noqa: PLC0415

    now = datetime.now(UTC)
    rows = [row(name, found, now) for name, found in scan(folder, named=False).items()]
    with told():
        if not rows:
            raise FailedError(
                f"there is no key pair in {folder}: looked for fullchain.pem with privkey.pem (certbot), and tls.crt "
                "with tls.key (cert-manager), in it and in the folders that it holds",
                Exit.NOT_FOUND,
            )
    if as_json:
        write_json({"folder": str(folder), "certificates": [document(one) for one in rows]})
    else:
        results().print(table(rows))
    if not all(one.servable for one in rows):
        raise typer.Exit(Exit.FAILED)
