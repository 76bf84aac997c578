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
    RoundingOption,
    RoundingRule,
    StateOption,
    WideOption,
    compiled,
    compiler_extra,
)
from wherry_controller.cli.model_evaluate import PlotOption, Verdict, evaluated, verdict_lines
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
    wide: WideOption = None,
    rounding: RoundingOption = RoundingRule.D,
    state: StateOption = None,
    manifest: Annotated[
        Path | None, typer.Option(help="What the model file cannot say (TOML).")
    ] = None,
    tests: Annotated[
        Path | None, typer.Option(help="The JUnit report of its tests; counts and digest are kept.")
    ] = None,
    evaluate: Annotated[
        Path | None,
        typer.Option(
            help="A labelled dataset (.npz, channels last): float beside int8, kept as a record."
        ),
    ] = None,
    plot: PlotOption = None,
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
    layers, states = tuple(wide or ()), tuple(state or ())
    asked = Asked(ranges, percentile, equalize, correct_bias, layers, states, rounding)
    if plot is not None and evaluate is None:
        raise WherryError("--plot needs --evaluate DATASET, whose confusion matrices it draws")
    if input.is_dir():
        beside = (calibration, manifest, author, tests, evaluate)
        if any(option is not None for option in beside) or asked != Asked():
            raise WherryError(
                f"{input} is an extracted bundle: its manifest.json and its assets/ say what "
                "--manifest, --calibration, --tests, --evaluate and --author would, edit those; it "
                "is quantized already (`wherry model evaluate` adds a record to a bundle)"
            )
        bundle, report, verdict = _from_directory(input, name, version), None, None
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
        verdict = None
        if evaluate is not None:
            bundle, verdict = evaluated(bundle, input, evaluate, plot, states)
    write_file(output, write_bundle(bundle))
    _told(output, bundle, report, verdict)


def _told(output: Path, bundle: Bundle, report: Any, verdict: Verdict | None) -> None:
    signers = "signatures restored" if bundle.signatures else "unsigned"
    result: dict[str, Any] = {"output": str(output), "digest": bundle.digest.hex()}
    lines = [f"{output}: {signers}, {bundle.digest.hex()}"]
    if verdict is not None:
        result |= {"evaluation": verdict.as_plain()}
        lines = [*verdict_lines(verdict), *lines]
    if report is not None:
        result |= {"report": report.as_dict()}
        lines.insert(0, report.as_text())
    show(result, "\n".join(lines))


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
