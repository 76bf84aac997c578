"""`wherry registry …`: bundles that the controller keeps."""

from pathlib import Path
from typing import Annotated

import typer
from wherry_protocol.bundle import write_bundle
from wherry_protocol.errors import WherryError

from wherry_controller.cli.client import ask
from wherry_controller.cli.files import read_bundle_file
from wherry_controller.cli.output import JsonOption, show, show_rows

app = typer.Typer(help="Push, list and show bundles.")


def split_reference(reference: str) -> tuple[str, str]:
    """NAME:VERSION in its halves. Raises WherryError(INVALID)."""
    name, colon, version = reference.partition(":")
    if not (name and colon and version):
        raise WherryError(f"{reference!r} must be NAME:VERSION, like pump-anomaly:1.0.0")
    return name, version.removeprefix("v")


@app.command()
def push(
    bundle: Annotated[Path, typer.Argument(help="A signed bundle file.")],
    json: JsonOption = False,
) -> None:
    """Give a signed bundle to the controller.

    wherry registry push pump-anomaly-1.0.0.wherry
    """
    content = write_bundle(read_bundle_file(bundle))
    kept = ask("POST", "/bundles", content=content)
    show(kept, f"{kept['model']}:{kept['version']} is kept as {kept['digest']}")


@app.command("list")
def everything(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    json: JsonOption = False,
) -> None:
    """List bundles, versions in numeric order.

    wherry registry list
    """
    rows = ask("GET", "/bundles", query={"model": model} if model else None)
    show_rows(rows, ("model", "version", "digest", "pushed_by"), "no bundles")


@app.command("show")
def one(
    reference: Annotated[str, typer.Argument(help="NAME:VERSION.")], json: JsonOption = False
) -> None:
    """Show one bundle with its manifest.

    wherry registry show pump-anomaly:1.0.0
    """
    name, version = split_reference(reference)
    found = ask("GET", f"/bundles/{name}/{version}")
    manifest = found.get("manifest", {})
    lines = [f"{name}:{version}  {found['digest']}"]
    lines += [
        f"  {key}: {manifest[key]}"
        for key in ("author", "description", "release_notes", "security_floor")
        if manifest.get(key)
    ]
    lines += [f"  budget {key}: {value}" for key, value in manifest.get("budgets", {}).items()]
    show(found, "\n".join(lines))
