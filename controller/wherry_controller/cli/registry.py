"""`wherry registry …`: bundles that the controller keeps."""

from pathlib import Path
from typing import Annotated, Any

import typer
from wherry_protocol.bundle import write_bundle

from wherry_controller.cli import registry_retention, registry_stages
from wherry_controller.cli.client import ask, download, upload
from wherry_controller.cli.files import read_bundle_file, write_file
from wherry_controller.cli.output import JsonOption, progress, show, show_rows, time_text
from wherry_controller.cli.references import split_reference

app = typer.Typer(help="Push, list, show, promote, pin and retain versions.")


@app.command()
def push(
    bundle: Annotated[Path, typer.Argument(help="A signed bundle file.")],
    json: JsonOption = False,
) -> None:
    """Give a signed bundle to the controller.

    wherry registry push pump-anomaly-1.0.0.wherry
    """
    content = write_bundle(read_bundle_file(bundle))
    with progress(f"pushing {bundle.name}", len(content)) as sent:
        kept = upload("/bundles", content, sent)
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
    shown = rows if json else [row | _summary(row) for row in rows]
    columns = ("model", "version", "stage", "digest", "size_bytes", "pushed", "pushed_by")
    show_rows(shown, columns, "no bundles")


def _summary(row: dict[str, Any]) -> dict[str, str]:
    return {"digest": f"{row['digest'][:16]}…", "pushed": time_text(row["pushed_s"])}


@app.command("show")
def one(
    reference: Annotated[str, typer.Argument(help="NAME:VERSION.")], json: JsonOption = False
) -> None:
    """Show one bundle with its manifest.

    wherry registry show pump-anomaly:1.0.0
    """
    name, version = split_reference(reference)
    found = ask("GET", f"/bundles/{name}/{version}")
    manifest = found["manifest"]
    lines = [f"{name}:{version}  {found['digest']}"]
    lines += [
        f"  {key}: {manifest[key]}"
        for key in ("author", "description", "release_notes", "security_floor")
        if manifest.get(key)
    ]
    lines += [f"  budget {key}: {_budget(value)}" for key, value in manifest["budgets"].items()]
    show(found, "\n".join(lines))


def _budget(budget: dict[str, Any]) -> str:
    limits = (("latency_us_p95", "us at p95"), ("memory_bytes", "bytes of memory"),
              ("energy_uj", "uJ per inference"), ("power_mw", "mW"))  # fmt: skip
    return ", ".join(
        f"{budget[key]:.10g} {unit}" for key, unit in limits if budget[key] is not None
    )


@app.command()
def pull(
    reference: Annotated[str, typer.Argument(help="NAME:VERSION.")],
    output: Annotated[Path, typer.Option(help="The bundle file to write.")],
    json: JsonOption = False,
) -> None:
    """Fetch a bundle as it was pushed, with every signature.

    wherry registry pull pump-anomaly:1.0.0 --output pump-anomaly-1.0.0.wherry
    """
    name, version = split_reference(reference)
    content = download(f"/bundles/{name}/{version}/file")
    write_file(output, content)
    show({"output": str(output), "size_bytes": len(content)}, f"{output}: {len(content)} bytes")


registry_stages.add_to(app)
registry_retention.add_to(app)
