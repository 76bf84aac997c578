"""`wherry model version …`: is it valid, what changed, and which version comes next."""

from pathlib import Path
from typing import Annotated, Any

import typer
from wherry_native.engine import ABI_VERSION, ABI_VERSION_MIN
from wherry_protocol.bundle import Bundle, program_image, read_bundle, write_bundle
from wherry_protocol.errors import ContractError, NotFoundError, StateError, WherryError
from wherry_protocol.hardware import HardwareClass
from wherry_protocol.version import Version

from wherry_controller.cli.client import ask, download
from wherry_controller.cli.files import read_bundle_file, read_directory, write_file
from wherry_controller.cli.hardware_class import read_class
from wherry_controller.cli.model_compile import compiler_extra
from wherry_controller.cli.output import JsonOption, show
from wherry_controller.core.profiles import DEFAULT_CLASSES
from wherry_controller.core.registry.bumps import Bump, bumped, check_bump
from wherry_controller.core.registry.fits import Runner, memory_bytes, misfits
from wherry_controller.modelkit.comparing import Comparison, as_plain, compare
from wherry_controller.modelkit.packaging import load_program
from wherry_controller.modelkit.versioning import with_version

app = typer.Typer(help="Check, compare and raise versions.")

REGISTRY = "registry"


@app.command()
def check(
    bundle: Annotated[Path, typer.Argument(help="A bundle file, NAME-VERSION.wherry.")],
    hardware_class: Annotated[
        str | None,
        typer.Option("--class", help="Also: may this class run it? A known one, or a FILE.toml."),
    ] = None,
    engine_abi: Annotated[
        int | None,
        typer.Option(
            help="The one ABI of the engine that would run it; by default this engine.", min=0
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show a bundle's version, and whether a class and an engine can run it.

    wherry model version check pump-anomaly-1.0.0.wherry --class linux-x86_64 --engine-abi 1
    """
    source = read_bundle_file(bundle)
    manifest = source.manifest
    profile = None if hardware_class is None else _profile(hardware_class)
    limit = None if profile is None else profile.memory_budget_bytes
    class_name = None if profile is None else profile.name
    low, high = (ABI_VERSION_MIN, ABI_VERSION) if engine_abi is None else (engine_abi, engine_abi)
    found = misfits(manifest, Runner(class_name, limit, low, high))
    on = f"engine ABI {low}" + ("" if low == high else f" to {high}")
    on += "" if class_name is None else f", {class_name}"
    name = f"{manifest.model} {Version.parse(manifest.version)}"
    if found:
        raise ContractError(
            f"{name} does not run on {on}: " + "; ".join(misfit.text for misfit in found),
            found[0].code,
        )
    load_program(program_image(source))  # every operator, type and size, as a device loads it
    show(
        {
            "model": manifest.model,
            "version": manifest.version,
            "is_semantic": True,  # another text in the manifest is refused when it is read
            "engine_abi": manifest.engine_abi,
            "classes": sorted(manifest.budgets),
            "memory_bytes": memory_bytes(manifest),
            "memory_budget_bytes": limit,
            "is_compatible": True,
        },
        f"{name} is a semantic version and runs on {on} in {memory_bytes(manifest)} bytes; "
        f"classes: {', '.join(sorted(manifest.budgets)) or 'none'}",
    )


def _profile(wanted: str) -> HardwareClass:
    """The class of that name among those that everybody has, or of a file."""
    if wanted.endswith(".toml"):
        return read_class(Path(wanted))
    known = {profile.name: profile for profile in DEFAULT_CLASSES}
    if wanted not in known:
        raise NotFoundError(
            f"class {wanted!r} is none of {', '.join(known)}; `wherry class show {wanted}` prints "
            "one of yours as a file for --class FILE.toml"
        )
    return known[wanted]


@app.command("compare")
def compared(
    old: Annotated[Path, typer.Argument(help="The older bundle.")],
    new: Annotated[Path, typer.Argument(help="The newer bundle.")],
    json: JsonOption = False,
) -> None:
    """Show what changed between two versions, and which bump that needs.

    wherry model version compare pump-anomaly-1.0.0.wherry pump-anomaly-1.1.0.wherry
    """
    found = compare(read_bundle_file(old), read_bundle_file(new))
    show(as_plain(found), _comparison_text(found))


def _comparison_text(found: Comparison) -> str:
    lines = [
        f"{found.model} {found.old} -> {found.new}: {found.relation}, a "
        f"{found.given.name} bump; the changes need {found.required.name}"
    ]
    lines += [f"  {reason.bump.name:<5} {reason.text}" for reason in found.reasons]
    lines += [
        f"  {name}: {_short(was)} -> {_short(now)}" for name, (was, now) in found.manifest.items()
    ]
    for name, (before, after) in found.layers.items():
        if before is None or after is None:
            layer = before or after
            shapes = "" if layer is None else " and ".join(layer.shapes)
            lines.append(f"  layer {name}: {'is new' if before is None else 'is gone'}, {shapes}")
        elif before.shapes != after.shapes:
            shapes = f"{' and '.join(before.shapes)} -> {' and '.join(after.shapes)}"
            lines.append(f"  layer {name}: other shapes, {shapes}")
        else:
            lines.append(f"  layer {name}: other values, {' and '.join(after.shapes)}")
    same = found.layer_count - len(found.layers)
    lines.append(
        f"  {same} of {found.layer_count} layers are the same; "
        f"{found.old_bytes} -> {found.new_bytes} bytes ({found.new_bytes - found.old_bytes:+d})"
    )
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


@app.command()
def update(
    bundle: Annotated[Path, typer.Argument(help="A bundle file or an extracted folder.")],
    major: Annotated[bool, typer.Option("--major", help="The contract changed.")] = False,
    minor: Annotated[bool, typer.Option("--minor", help="Same contract, new ability.")] = False,
    patch: Annotated[bool, typer.Option("--patch", help="Same contract, new weights.")] = False,
    against: Annotated[
        str | None,
        typer.Option(
            help="The version before it: a bundle file, NAME:VERSION, or `registry` for the newest "
            "there. Too small a bump is refused."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write here; by default NAME-VERSION.wherry beside it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Raise the version; what comes out is unsigned. A folder is changed in place.

    wherry model version update pump-anomaly-1.1.0.wherry --minor
    --against pump-anomaly-1.0.0.wherry
    """
    bump = _bump(major, minor, patch)
    if bundle.is_dir() and output is not None:
        raise WherryError(f"{bundle} is a folder and is changed in place: --output is for files")
    before = _read(bundle)
    version = bumped(Version.parse(before.manifest.version), bump)
    if against is not None:
        previous = _previous(against, before.manifest.model)
        found = compare(previous, before)
        check_bump(found.model, found.old, version, found.reasons)
    after = with_version(before, version)
    target = output or bundle.parent / f"{after.manifest.model}-{version}.wherry"
    if bundle.is_dir():
        target = bundle
        _write_folder(bundle, after)
    else:
        write_file(target, write_bundle(after))
    show(
        {
            "output": str(target),
            "old": before.manifest.version,
            "new": str(version),
            "digest": after.digest.hex(),
            "is_signed": False,
        },
        f"{target}: {before.manifest.version} -> {version}, {after.digest.hex()}, unsigned: "
        "sign it again",
    )


def _bump(major: bool, minor: bool, patch: bool) -> Bump:
    wanted = {Bump.MAJOR: major, Bump.MINOR: minor, Bump.PATCH: patch}
    given = [bump for bump, is_given in wanted.items() if is_given]
    if len(given) != 1:
        raise typer.BadParameter("give one of --major, --minor and --patch")
    return given[0]


def _read(path: Path) -> Bundle:
    if not path.is_dir():
        return read_bundle_file(path)
    with compiler_extra():
        from wherry_controller.modelkit.directory import packaged
    return packaged(read_directory(path))


def _write_folder(path: Path, bundle: Bundle) -> None:
    """Only the manifest names the version; signatures of another digest are taken away."""
    with compiler_extra():
        from wherry_controller.modelkit.directory import MANIFEST, extracted
    write_file(path / MANIFEST, extracted(bundle)[MANIFEST])
    for signature in (path / "signatures").glob("*"):
        signature.unlink()


def _previous(against: str, model: str) -> Bundle:
    """The bundle to compare with, of a file or of the registry."""
    if against != REGISTRY and ":" not in against:
        return read_bundle_file(Path(against))
    name, _, version = (model, "", "") if against == REGISTRY else against.partition(":")
    if not version:
        rows = ask("GET", "/bundles", query={"model": model})
        if not rows:
            raise StateError(f"the registry has no version of {model} to compare with")
        version = rows[-1]["version"]
    return read_bundle(download(f"/bundles/{name}/{version.removeprefix('v')}/file"))
