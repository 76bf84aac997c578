"""`wherry model …`: bundles as files; needs no controller."""

import io
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from wherry_protocol.bundle import write_bundle
from wherry_protocol.errors import NotFoundError, WherryError
from wherry_protocol.trust import TrustState, start

from wherry_controller import settings
from wherry_controller.cli import model_evaluate, model_known, model_version
from wherry_controller.cli.client import data_dir
from wherry_controller.cli.files import (
    read_array,
    read_bundle_file,
    read_file,
    signing_key,
    write_directory,
    write_file,
)
from wherry_controller.cli.hardware_class import read_class
from wherry_controller.cli.model_compile import compiler_extra
from wherry_controller.cli.model_package import package
from wherry_controller.cli.output import JsonOption, show, working
from wherry_controller.core.profiles import DEFAULT_CLASSES
from wherry_controller.modelkit.inspection import described
from wherry_controller.modelkit.running import run_bundle
from wherry_controller.modelkit.signing import sign_bundle, verify_bundle
from wherry_controller.store import meta, open_reader

app = typer.Typer(help="Package, sign, verify, extract, inspect and run models.")

BundleArgument = Annotated[Path, typer.Argument(help="A bundle file, NAME-VERSION.wherry.")]


app.command()(package)
app.add_typer(model_version.app, name="version")
app.command()(model_evaluate.evaluate)
app.command()(model_known.compatibility)
app.command()(model_known.gates)


@app.command()
def sign(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option(help="A release key (PEM).")],
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Where the key's passphrase stands; else it is asked for.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write here instead of in place.")] = None,
    json: JsonOption = False,
) -> None:
    """Add one release signature.

    wherry model sign pump-anomaly-1.0.0.wherry --key release-1.pem
    """
    signed = sign_bundle(read_bundle_file(bundle), signing_key(key, passphrase_file))
    write_file(output or bundle, write_bundle(signed))
    signers = [s.hex() for s in verify_bundle(signed, None).signer_ids]
    show(
        {"output": str(output or bundle), "digest": signed.digest.hex(), "signers": signers},
        f"{output or bundle}: signed by {len(signers)} ({', '.join(signers)})",
    )


@app.command()
def verify(
    bundle: BundleArgument,
    root: Annotated[
        list[Path] | None,
        typer.Option(help="The organization's roots, oldest first (repeat); else those of --data."),
    ] = None,
    org: Annotated[str | None, typer.Option(help="The organization of the roots.")] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Check that it is whole; believe nobody.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check digests, program, golden vectors, and the release signatures.

    wherry model verify pump-anomaly-1.0.0.wherry --root 1.cose --org acme
    """
    if unsigned and root:
        raise WherryError("--unsigned asks no root, --root does: give one of them")
    trust = None if unsigned else _trust(root, org)
    with working(f"verifying {bundle}"):
        checked = verify_bundle(read_bundle_file(bundle), trust)
    by = "trusted" if checked.is_trusted else "whole, its signers unchecked"
    if trust is None and not unsigned:
        by += " (no root: give --root and --org, or --data)"
    show(
        {
            "digest": checked.digest.hex(),
            "is_trusted": checked.is_trusted,
            "signers": [signer.hex() for signer in checked.signer_ids],
            "blob_count": checked.blob_count,
            "golden_count": checked.golden_count,
        },
        f"{bundle}: {by}; {checked.golden_count} golden vectors exact, {checked.blob_count} blobs",
    )


def _trust(roots: list[Path] | None, org: str | None) -> TrustState | None:
    """The chain that was given, or the data directory's; None where there is neither."""
    now_s = int(time.time())
    if roots:
        if org is None:
            raise WherryError("--root needs --org, whose roots these are")
        return start(org, tuple(read_file(path, "root") for path in roots), now_s)
    data = data_dir()
    if not data.settings.exists():
        return None
    name = org or settings.load(data.settings).organization
    if not data.database.exists():
        raise NotFoundError(
            f"{data.database}: there is no database, which knows the newer roots; give --root (for "
            "each root, oldest first) and --org, or restore a backup"
        )
    db = open_reader(data.database)
    try:
        chain = (read_file(data.roots / "1.cose", "root"), *meta.newer_roots(db))
    finally:
        db.close()
    return start(name, chain, now_s)


@app.command()
def extract(
    bundle: BundleArgument,
    output: Annotated[Path, typer.Option(help="A new folder.")],
    json: JsonOption = False,
) -> None:
    """Unpack a bundle into files that a person can read; `package --input FOLDER` is the way back.

    wherry model extract pump-anomaly-1.0.0.wherry --output pump/
    """
    with compiler_extra():
        from wherry_controller.modelkit.directory import extracted

    files = extracted(read_bundle_file(bundle))
    write_directory(output, files)
    show({"output": str(output), "files": sorted(files)}, f"{output}: {len(files)} files")


@app.command()
def inspect(
    bundle: BundleArgument,
    hardware_class: Annotated[
        list[Path] | None,
        typer.Option("--class", help="Estimate for this class (TOML; repeat), not for the usual."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show what is in a bundle, what it needs, and what an inference may take (modelled).

    wherry model inspect pump-anomaly-1.0.0.wherry
    """
    classes = [read_class(path) for path in hardware_class or ()] or DEFAULT_CLASSES
    shown = described(read_bundle_file(bundle), classes)
    show(shown, _inspection_text(shown))


def _inspection_text(shown: dict[str, Any]) -> str:
    manifest, program = shown["manifest"], shown["program"]
    lines = [
        f"{manifest['model']} {manifest['version']}  {shown['digest']}",
        f"  by {manifest['author']}: {manifest['description'] or '(no description)'}",
        f"  signers: {', '.join(shown['signers']) or 'none'}",
        f"  program: {program['image_bytes']} bytes of flash, {program['arena_bytes']} bytes of "
        f"arena, {program['macs']} multiply-accumulates, {len(program['operators'])} operators",
    ]
    lines += [
        f"  kernels {k['name']}: {k['prepared_bytes']} bytes prepacked, {k['scratch_bytes']} bytes "
        "of scratch beside the arena"
        for k in program["kernels"]
    ]
    lines += [_estimate_line(estimate) for estimate in shown["estimates"]]
    for direction in ("inputs", "outputs"):
        lines += [
            f"  {direction[:-1]} {t['name']}: {t['dtype']} {t['shape']}, "
            f"real = (q - {t['zero_point']}) * {t['scale']:.6g}"
            for t in manifest["contract"][direction]
        ]
    lines += [
        f"  budget {name}: p95 {b['latency_us_p95']} us, {b['memory_bytes']} bytes"
        for name, b in manifest["budgets"].items()
    ]
    lines += [
        f"  {m['role']:<15}{m['name']:<24}{m['size_bytes']:>10}  {m['digest'][:16]}…"
        for m in shown["members"]
    ]
    return "\n".join(lines)


def _estimate_line(estimate: dict[str, Any]) -> str:
    if estimate["latency_us"] is None:
        return f"  modelled {estimate['class']}: none ({estimate['source']})"
    energy = (
        "no energy model" if estimate["energy_uj"] is None else f"{estimate['energy_uj']:.3g} uJ"
    )
    return (
        f"  modelled {estimate['class']}: {estimate['latency_us']:.3g} us, {energy}, within a "
        f"factor of {estimate['factor']:g} ({estimate['source']})"
    )


@app.command()
def run(
    bundle: BundleArgument,
    inputs: Annotated[Path, typer.Option(help="An array (.npy), first axis the sample.")],
    outputs: Annotated[Path, typer.Option(help="Where to write the outputs (.npy).")],
    json: JsonOption = False,
) -> None:
    """Run the engine on an array: int8 in gives int8 out, float in (real units) gives float out.

    wherry model run pump-anomaly-1.0.0.wherry --inputs X.npy --outputs Y.npy
    """
    samples = read_array(inputs)
    with working(f"running {len(samples) if samples.ndim else 0} samples"):
        found = run_bundle(read_bundle_file(bundle), samples)
    buffer = io.BytesIO()
    np.save(buffer, found, allow_pickle=False)
    write_file(outputs, buffer.getvalue())
    show(
        {"outputs": str(outputs), "shape": list(found.shape), "dtype": str(found.dtype)},
        f"{outputs}: {found.dtype} {list(found.shape)}",
    )
