"""`wherry model …`: bundles as files; needs no controller."""

import getpass
import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from wherry_protocol.bundle import Bundle, write_bundle
from wherry_protocol.errors import (
    Code,
    DecodeError,
    MissingExtraError,
    WherryError,
)
from wherry_protocol.keys import SigningKey
from wherry_protocol.names import MODEL, check_name
from wherry_protocol.trust import TrustState, start
from wherry_protocol.version import Version

from wherry_controller.cli.files import (
    read_bundle_file,
    read_directory,
    read_file,
    write_directory,
    write_file,
)
from wherry_controller.cli.output import JsonOption, show
from wherry_controller.modelkit.inspection import described
from wherry_controller.modelkit.packaging import (
    Parts,
    assemble,
    draft,
    load_program,
    seeded_inputs,
)
from wherry_controller.modelkit.recipe import Recipe, read_recipe
from wherry_controller.modelkit.running import run_bundle
from wherry_controller.modelkit.signing import sign_bundle, verify_bundle

app = typer.Typer(help="Package, sign, verify, extract, inspect and run models.")

BundleArgument = Annotated[Path, typer.Argument(help="A bundle file, NAME-VERSION.wherry.")]


@app.command()
def package(
    input: Annotated[Path, typer.Option(help="MODEL.tflite, MODEL.onnx, or an extracted folder.")],
    output: Annotated[Path, typer.Option(help="The bundle to write, NAME-VERSION.wherry.")],
    name: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    version: Annotated[str | None, typer.Option(help="MAJOR.MINOR.PATCH.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Samples (.npz or .npy); a float model needs them.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="What the model file cannot say (TOML).")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make an unsigned bundle.

    wherry model package --input pump.onnx --name pump-anomaly --version 1.0.0
    --calibration samples.npz --manifest pump.toml --output pump-anomaly-1.0.0.wherry
    """
    if input.is_dir():
        bundle, report = _package_directory(input, name, version, calibration, manifest), None
    else:
        bundle, report = _package_file(input, name, version, calibration, manifest)
    write_file(output, write_bundle(bundle))
    result = {"output": str(output), "digest": bundle.digest.hex()}
    text = f"{output}: unsigned bundle {bundle.digest.hex()}"
    if report is not None:
        result |= {"report": report.as_dict()}
        text = f"{report.as_text()}\n{text}"
    show(result, text)


def _package_directory(
    path: Path,
    name: str | None,
    version: str | None,
    calibration: Path | None,
    manifest: Path | None,
) -> Bundle:
    if calibration is not None or manifest is not None:
        raise WherryError(
            f"{path} is an extracted bundle: its manifest.json and its assets/ say what "
            "--manifest and --calibration would, edit those"
        )
    from wherry_controller.modelkit.directory import packaged

    return packaged(read_directory(path), name=name, version=version)


def _package_file(
    path: Path,
    name: str | None,
    version: str | None,
    calibration: Path | None,
    manifest: Path | None,
) -> tuple[Bundle, Any]:
    if name is None or version is None:
        raise WherryError("a model file needs --name and --version")
    check_name("model", MODEL, name)
    number = str(Version.parse(version))
    recipe = Recipe()
    if manifest is not None:
        recipe = read_recipe(_text(manifest, "recipe"), str(manifest))
    compiled = _compiled(path, name, calibration)
    labels = "".join(f"{label}\n" for label in recipe.labels).encode()
    parts = Parts(
        manifest=draft(
            recipe, name=name, version=number, author=getpass.getuser(), image=compiled.image
        ),
        image=compiled.image,
        golden_inputs=_golden_inputs(compiled, recipe.golden_count),
        assets={"labels.txt": labels} if labels else {},
        microcontroller=recipe.microcontroller,
    )
    return assemble(parts), compiled.report


def _compiled(path: Path, name: str, calibration: Path | None) -> Any:
    """The compiler's result; it is an extra, so it is imported here and not before."""
    try:
        from wherry_native.compiler import CompileError, compile_model
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{error.name} is not installed; `pip install 'wherry[compiler]'` adds the compiler"
        ) from error
    try:
        return compile_model(path, calibration=calibration, name=name)
    except CompileError as error:
        raise DecodeError(f"{path}: {error}", Code.PROGRAM) from error
    except OSError as error:
        raise WherryError(f"{error.filename or path} cannot be read: {error.strerror}") from error


def _golden_inputs(compiled: Any, count: int) -> bytes:
    """Evenly spaced samples, or seeded noise where there are none."""
    samples: tuple[bytes, ...] = compiled.sample_inputs
    if not samples:
        return seeded_inputs(load_program(compiled.image), count)
    chosen = min(count, len(samples))
    return b"".join(samples[i * len(samples) // chosen] for i in range(chosen))


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
    signed = sign_bundle(read_bundle_file(bundle), _signing_key(key, passphrase_file))
    write_file(output or bundle, write_bundle(signed))
    signers = [s.hex() for s in verify_bundle(signed, None).signer_ids]
    show(
        {"output": str(output or bundle), "digest": signed.digest.hex(), "signers": signers},
        f"{output or bundle}: signed by {len(signers)} ({', '.join(signers)})",
    )


def _signing_key(path: Path, passphrase_file: Path | None) -> SigningKey:
    pem = read_file(path, "key")
    passphrase = None
    if passphrase_file is not None:
        passphrase = read_file(passphrase_file, "passphrase").strip()
    elif b"ENCRYPTED" in pem:
        passphrase = getpass.getpass(f"passphrase of {path}: ").encode()
    return SigningKey.from_pem(pem, passphrase)


@app.command()
def verify(
    bundle: BundleArgument,
    root: Annotated[
        list[Path] | None,
        typer.Option(help="The organization's roots, oldest first (repeat)."),
    ] = None,
    org: Annotated[str | None, typer.Option(help="The organization of the roots.")] = None,
    json: JsonOption = False,
) -> None:
    """Check digests, program, golden vectors, and (with --root) the release signatures.

    wherry model verify pump-anomaly-1.0.0.wherry --root wherry-data/roots/1.cose --org acme
    """
    trust = _trust(root, org)
    checked = verify_bundle(read_bundle_file(bundle), trust)
    by = "trusted" if checked.is_trusted else "whole, its signers unchecked (give --root)"
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
    if not roots:
        return None
    if org is None:
        raise WherryError("--root needs --org, whose roots these are")
    return start(org, tuple(read_file(path, "root") for path in roots))


@app.command()
def extract(
    bundle: BundleArgument,
    output: Annotated[Path, typer.Option(help="A new folder.")],
    json: JsonOption = False,
) -> None:
    """Unpack a bundle into files that a person can read; `package --input FOLDER` is the way back.

    wherry model extract pump-anomaly-1.0.0.wherry --output pump/
    """
    from wherry_controller.modelkit.directory import extracted

    files = extracted(read_bundle_file(bundle))
    write_directory(output, files)
    show({"output": str(output), "files": sorted(files)}, f"{output}: {len(files)} files")


@app.command()
def inspect(bundle: BundleArgument, json: JsonOption = False) -> None:
    """Show what is in a bundle: manifest, members, tensors, program.

    wherry model inspect pump-anomaly-1.0.0.wherry
    """
    shown = described(read_bundle_file(bundle))
    show(shown, _inspection_text(shown))


def _inspection_text(shown: dict[str, Any]) -> str:
    manifest, program = shown["manifest"], shown["program"]
    lines = [
        f"{manifest['model']} {manifest['version']}  {shown['digest']}",
        f"  by {manifest['author']}: {manifest['description'] or '(no description)'}",
        f"  signers: {', '.join(shown['signers']) or 'none'}",
        f"  program: {program['image_bytes']} bytes, arena {program['arena_bytes']} bytes, "
        f"{program['macs']} multiply-accumulates, {len(program['operators'])} operators",
    ]
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
    samples = _array(inputs)
    found = run_bundle(read_bundle_file(bundle), samples)
    buffer = io.BytesIO()
    np.save(buffer, found, allow_pickle=False)
    write_file(outputs, buffer.getvalue())
    show(
        {"outputs": str(outputs), "shape": list(found.shape), "dtype": str(found.dtype)},
        f"{outputs}: {found.dtype} {list(found.shape)}",
    )


def _array(path: Path) -> Any:
    data = read_file(path, "array")
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DecodeError(f"{path}: not a .npy array: {error}") from error
    if not isinstance(loaded, np.ndarray):
        raise DecodeError(f"{path}: holds several arrays, must be one .npy")
    return loaded


def _text(path: Path, what: str) -> str:
    try:
        return read_file(path, what).decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"{path}: not UTF-8 at byte {error.start}") from error
