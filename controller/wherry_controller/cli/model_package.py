"""`wherry model package`: a model file, or an extracted folder, becomes an unsigned bundle."""

import getpass
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from wherry_protocol.bundle import Bundle, write_bundle
from wherry_protocol.errors import WherryError
from wherry_protocol.names import MODEL, check_name
from wherry_protocol.version import Version

from wherry_controller.cli.files import read_directory, read_file, read_text, write_file
from wherry_controller.cli.model_compile import (
    Asked,
    CalibrationOption,
    CorrectBiasOption,
    EqualizeOption,
    PercentileOption,
    RangesOption,
    compiled,
    compiler_extra,
)
from wherry_controller.cli.output import JsonOption, show, working
from wherry_controller.modelkit.host_tests import tested
from wherry_controller.modelkit.packaging import (
    LABELS,
    Parts,
    assemble,
    draft,
    load_program,
    seeded_inputs,
)
from wherry_controller.modelkit.recipe import Recipe, read_recipe


def package(
    input: Annotated[Path, typer.Option(help="MODEL.tflite, MODEL.onnx, or an extracted folder.")],
    output: Annotated[Path, typer.Option(help="The bundle to write, NAME-VERSION.wherry.")],
    name: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    version: Annotated[str | None, typer.Option(help="MAJOR.MINOR.PATCH.")] = None,
    calibration: CalibrationOption = None,
    ranges: RangesOption = None,
    percentile: PercentileOption = None,
    equalize: EqualizeOption = False,
    correct_bias: CorrectBiasOption = False,
    manifest: Annotated[
        Path | None, typer.Option(help="What the model file cannot say (TOML).")
    ] = None,
    tests: Annotated[
        Path | None, typer.Option(help="The JUnit report of its tests; counts and digest are kept.")
    ] = None,
    author: Annotated[
        str | None,
        typer.Option(envvar="WHERRY_AUTHOR", help="Who made it; by default the manifest, or you."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make an unsigned bundle.

    wherry model package --input pump.onnx --name pump-anomaly --version 1.0.0
    --calibration samples.npz --manifest pump.toml --output pump-anomaly-1.0.0.wherry
    """
    asked = Asked(ranges, percentile, equalize, correct_bias)
    if input.is_dir():
        if calibration is not None or any((manifest, author, tests)) or asked != Asked():
            raise WherryError(
                f"{input} is an extracted bundle: its manifest.json and its assets/ say what "
                "--manifest, --calibration, --tests and --author would, edit those; it is "
                "quantized already"
            )
        bundle, report = _from_directory(input, name, version), None
    else:
        recipe = Recipe()
        if manifest is not None:
            recipe = read_recipe(read_text(manifest, "recipe"), str(manifest))
        if author is not None:
            recipe = replace(recipe, author=author)
        if tests is not None:
            provenance = tested(recipe.provenance, read_file(tests, "test report"), str(tests))
            recipe = replace(recipe, provenance=provenance)
        bundle, report = _from_file(input, name, version, calibration, recipe, asked)
    write_file(output, write_bundle(bundle))
    signers = "signatures restored" if bundle.signatures else "unsigned"
    result = {"output": str(output), "digest": bundle.digest.hex()}
    text = f"{output}: {signers}, {bundle.digest.hex()}"
    if report is not None:
        result |= {"report": report.as_dict()}
        text = f"{report.as_text()}\n{text}"
    show(result, text)


def _from_directory(path: Path, name: str | None, version: str | None) -> Bundle:
    with compiler_extra():
        from wherry_controller.modelkit.directory import packaged

    return packaged(read_directory(path), name=name, version=version)


def _from_file(
    path: Path,
    name: str | None,
    version: str | None,
    calibration: Path | None,
    recipe: Recipe,
    asked: Asked,
) -> tuple[Bundle, Any]:
    if name is None or version is None:
        raise WherryError("a model file needs --name and --version")
    check_name("model", MODEL, name)
    number = str(Version.parse(version))
    with working(f"compiling {path}"):
        made = compiled(path, name, calibration, asked)
    labels = "".join(f"{label}\n" for label in recipe.labels).encode()
    parts = Parts(
        manifest=draft(
            recipe, name=name, version=number, author=getpass.getuser(), image=made.image
        ),
        image=made.image,
        golden_inputs=_golden_inputs(made, recipe.golden_count),
        assets={LABELS: labels} if labels else {},
        microcontroller=recipe.microcontroller,
    )
    return assemble(parts), made.report


def _golden_inputs(made: Any, count: int) -> bytes:
    """Evenly spaced samples, or seeded noise where there are none."""
    samples: tuple[bytes, ...] = made.sample_inputs
    if not samples:
        return seeded_inputs(load_program(made.image), count)
    chosen = min(count, len(samples))
    return b"".join(samples[i * len(samples) // chosen] for i in range(chosen))
