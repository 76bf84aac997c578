"""Versions of a model as files: checked, compared, raised; and which units can take one."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import pytest
from wherry_controller.settings import RegistrySettings
from wherry_protocol.bundle import read_bundle

from tests.cli.door import Answer, wherry
from tests.doors.quay import Quay
from tests.doors.test_bundles import RECIPE, edit, packaged, sign


@pytest.fixture(scope="module")
def first(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """digits 1.0.0."""
    folder = tmp_path_factory.mktemp("first")
    assert packaged(digits, folder).status == 0
    return folder / "digits.wherry"


@pytest.fixture(scope="module")
def retrained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network with other weights, as 1.0.0 too."""
    return _network(digits, tmp_path_factory.mktemp("retrained"), "1.1.1")


@pytest.fixture(scope="module")
def larger(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network, as 1.0.0 too."""
    return _network(digits, tmp_path_factory.mktemp("larger"), "1.2.0")


def _network(digits: Path, folder: Path, source: str) -> Path:
    (folder / "digits.toml").write_text(RECIPE)
    output = folder / "digits-1.0.0.wherry"
    done = wherry(
        "model", "package", "--input", digits / f"digits-{source}.onnx", "--name", "digits",
        "--version", "1.0.0", "--calibration", digits / "calibration.npz",
        "--manifest", folder / "digits.toml", "--output", output,
    )  # fmt: skip
    assert done.status == 0, done
    return output


def edited(bundle: Path, folder: Path, version: str, change: Callable[[Path], None]) -> Path:
    """The bundle as another version, after a change in its extracted folder."""
    tree, output = folder / f"tree-{version}", folder / f"digits-{version}.wherry"
    assert wherry("model", "extract", bundle, "--output", tree).status == 0
    edit(tree / "manifest.json", lambda it: it.update(version=version))
    change(tree)
    done = wherry("model", "package", "--input", tree, "--output", output)
    assert done.status == 0, done
    return output


def nothing(tree: Path) -> None:
    del tree


def other_label(tree: Path) -> None:
    labels = tree / "assets" / "labels.txt"
    labels.write_text(labels.read_text().replace("nine", "niner"))


def other_preprocessing(tree: Path) -> None:
    edit(tree / "manifest.json", lambda it: it["contract"].update(preprocessing="log-mel 40"))


def another_class(tree: Path) -> None:
    budget = {"latency_us_p95": 9000, "memory_bytes": 1_000_000}
    edit(tree / "manifest.json", lambda it: it["budgets"].update({"linux-arm64": budget}))


def compare(old: Path, new: Path) -> Answer:
    return wherry("model", "version", "compare", old, new, "--json")


def update(bundle: Path, *words: str | Path) -> Answer:
    return wherry("model", "version", "update", bundle, *words, "--json")


def test_a_version_is_checked_against_a_class_and_an_engine(first: Path) -> None:
    check = ("model", "version", "check", first)
    told = wherry(*check, "--class", "linux-x86_64", "--json").json
    assert (told["version"], told["is_semantic"], told["is_compatible"]) == ("1.0.0", True, True)
    for words, status, sentence in (
        (("--engine-abi", "7"), 12, "engine ABI 1 is needed, it has 7"),
        (("--class", "cortex-m-sim"), 12, "no budget for class cortex-m-sim"),
    ):
        refused = wherry(*check, *words)
        assert refused.status == status
        assert sentence in refused.err


def test_memory_is_checked_against_a_class_of_a_file_and_the_bundles_own_budget(
    first: Path, tmp_path: Path
) -> None:
    shown = wherry("model", "version", "check", first, "--class", "linux-x86_64", "--json").json
    need = shown["memory_bytes"]
    program = wherry("model", "inspect", first, "--json").json["program"]
    assert need == program["image_bytes"] + program["arena_bytes"]
    board = 'name = "linux-x86_64"\narchitecture = "x86_64"\nram_bytes = 65536\n' \
        "flash_bytes = 65536\nstorage_budget_bytes = 65536\nmemory_budget_bytes = "  # fmt: skip
    for budget, status in ((need, 0), (need - 1, 12)):
        (tmp_path / "board.toml").write_text(f"{board}{budget}\n")
        checked = wherry("model", "version", "check", first, "--class", tmp_path / "board.toml")
        assert checked.status == status, checked
    assert f"{need} bytes of memory are needed, class linux-x86_64 allows {need - 1}" in checked.err
    assert wherry("model", "version", "check", first, "--class", "my-board").status == 15


def test_new_weights_in_the_same_network_need_a_patch(
    first: Path, retrained: Path, tmp_path: Path
) -> None:
    found = compare(first, edited(retrained, tmp_path, "1.0.1", nothing)).json
    assert (found["relation"], found["given"], found["required"]) == ("newer", "patch", "patch")
    assert found["is_enough"]
    changed = found["layers"]
    assert changed
    for layer in changed.values():
        assert layer["old"]["shapes"] == layer["new"]["shapes"]
        assert layer["old"]["digest"] != layer["new"]["digest"]
    assert found["manifest"]["version"] == {"old": "1.0.0", "new": "1.0.1"}
    assert found["size_bytes"]["delta"] == found["size_bytes"]["new"] - found["size_bytes"]["old"]


def test_another_network_or_ability_needs_a_minor(
    first: Path, larger: Path, tmp_path: Path
) -> None:
    network = compare(first, larger).json
    assert (network["required"], network["is_enough"]) == ("minor", False)
    assert any("architecture" in reason["text"] for reason in network["reasons"])
    assert any(one["old"]["shapes"] != one["new"]["shapes"] for one in network["layers"].values()
               if one["old"] and one["new"])  # fmt: skip
    other = compare(first, edited(first, tmp_path, "1.1.0", another_class)).json
    assert (other["required"], other["is_enough"], other["layers"]) == ("minor", True, {})
    assert other["reasons"][0]["text"] == "hardware class linux-arm64 is new"


@pytest.mark.parametrize(
    ("change", "what"), [(other_label, "labels"), (other_preprocessing, "preprocessing")]
)
def test_a_new_contract_needs_a_major(
    first: Path, tmp_path: Path, change: Callable[[Path], None], what: str
) -> None:
    newer = edited(first, tmp_path, "1.4.0", change)
    found = compare(first, newer).json
    assert (found["given"], found["required"], found["is_enough"]) == ("minor", "major", False)
    assert what in found["reasons"][0]["text"]
    assert "the changes need MAJOR" in wherry("model", "version", "compare", first, newer).out


def test_ten_is_newer_than_nine(first: Path, tmp_path: Path) -> None:
    nine, ten = (edited(first, tmp_path, f"1.{n}.0", nothing) for n in (9, 10))
    assert compare(nine, ten).json["relation"] == "newer"
    assert compare(ten, nine).json["relation"] == "older"


@pytest.mark.parametrize(
    ("flag", "version"), [("--major", "2.0.0"), ("--minor", "1.1.0"), ("--patch", "1.0.1")]
)
def test_an_update_raises_one_component_and_is_unsigned(
    quay: Quay, first: Path, tmp_path: Path, flag: str, version: str
) -> None:
    signed = sign(quay, first, tmp_path / "digits-1.0.0.wherry")
    done = update(signed, flag).json
    assert (done["old"], done["new"], done["is_signed"]) == ("1.0.0", version, False)
    bundle = read_bundle((tmp_path / f"digits-{version}.wherry").read_bytes())
    assert (bundle.manifest.version, bundle.signatures) == (version, b"")
    assert bundle.digest.hex() == done["digest"]
    assert (
        wherry("model", "verify", tmp_path / f"digits-{version}.wherry", "--unsigned").status == 0
    )
    assert "unsigned: sign it again" in wherry("model", "version", "update", signed, flag).out


def test_an_update_takes_exactly_one_flag(first: Path) -> None:
    assert update(first).status == 2
    assert update(first, "--minor", "--patch").status == 2


def test_too_small_a_bump_is_refused_and_writes_nothing(
    quay: Quay, first: Path, larger: Path, tmp_path: Path
) -> None:
    larger = Path(copy(larger, tmp_path))
    refused = update(larger, "--patch", "--against", first)
    assert refused.status == 12
    assert "is a PATCH bump, the changes need a MINOR one" in refused.err
    assert [path.name for path in larger.parent.glob("*.wherry")] == ["digits-1.0.0.wherry"]
    assert update(larger, "--minor", "--against", first).json["new"] == "1.1.0"
    quay.cli("registry", "push", sign(quay, first, tmp_path / "signed.wherry"))
    for against in ("registry", "digits:1.0.0"):
        refused = quay.wherry("model", "version", "update", larger, "--patch",
                              "--against", against)  # fmt: skip
        assert refused.status == 12, refused


def test_an_extracted_folder_is_raised_in_place(quay: Quay, first: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    signed = sign(quay, first, tmp_path / "signed.wherry")
    assert wherry("model", "extract", signed, "--output", tree).status == 0
    assert update(tree, "--minor").json["new"] == "1.1.0"
    packed = wherry("model", "package", "--input", tree, "--output", tmp_path / "x.wherry")
    assert packed.status == 0, packed
    bundle = read_bundle((tmp_path / "x.wherry").read_bytes())
    assert (bundle.manifest.version, bundle.signatures) == ("1.1.0", b"")


def test_the_registry_takes_no_new_contract_within_one_major(
    quay: Quay, first: Path, tmp_path: Path
) -> None:
    quay.cli("registry", "push", sign(quay, first, tmp_path / "a.wherry"))
    other = edited(first, tmp_path, "1.1.0", other_label)
    refused = quay.wherry("registry", "push", sign(quay, other, other))
    assert refused.status == 12
    assert "needs a new MAJOR version, 2.0.0 or higher" in refused.err
    other = edited(first, tmp_path, "2.0.0", other_label)
    quay.cli("registry", "push", sign(quay, other, other))
    assert len(quay.rest("GET", "/bundles")) == 2


def test_the_matrix_lists_units_and_every_reason_why_not(quay: Quay) -> None:
    quay.enroll("good")
    quay.enroll("old", abi=(3, 4))
    quay.enroll("arm", hardware_class="linux-arm64", abi=(2, 2))
    quay.push("1.0.0")
    rows = {row["unit"]: row for row in quay.cli("model", "compatibility", "digits:1.0.0")}
    assert {unit: row["is_compatible"] for unit, row in rows.items()} == {
        "arm/self": False, "good/self": True, "old/self": False,
    }  # fmt: skip
    assert [reason["code"] for reason in rows["arm/self"]["reasons"]] == ["WRONG_ABI", "NO_BUDGET"]
    assert [reason["code"] for reason in rows["old/self"]["reasons"]] == ["WRONG_ABI"]
    assert (rows["old/self"]["abi_min"], rows["old/self"]["abi_max"]) == (3, 4)
    told = quay.wherry("model", "compatibility", "digits:1.0.0", "--target", "old").out
    assert "engine ABI 1 is needed, it has 3 to 4" in told
    assert "good" not in told


def test_a_rollout_names_the_units_that_cannot_run_it_when_it_is_made(quay: Quay) -> None:
    quay.enroll("good")
    quay.enroll("old", abi=(3, 4))
    quay.push("1.0.0")
    body = {"model": "digits", "version": "1.0.0", "target": "all"}
    seen = quay.rest("POST", "/rollouts/preview", body)["release"]["unfit"]
    assert seen == {"old/self": "engine ABI 1 is needed, it has 3 to 4"}
    made = quay.deploy("1.0.0")
    assert made["release"]["unfit"] == seen
    assert "cannot run it: old/self" in quay.wherry("rollout", "show", made["id"]).out
    quay.go(3)
    assert quay.versions() == {"good": "1.0.0"}


def test_a_new_major_is_rolled_out_only_with_its_notes_acknowledged(quay: Quay) -> None:
    quay.enroll("pump-1", "pump-2")
    quay.install("1.0.0")
    quay.push("2.0.0", notes="speaks log-mel now")
    order = ("rollout", "create", "digits:2.0.0", "--target", "all")
    refused = quay.wherry(*order)
    assert refused.status == 14
    assert "acknowledge them (--acknowledge-notes)" in refused.err
    assert len(quay.rest("GET", "/rollouts")) == 1
    assert "notes: speaks log-mel now" in quay.wherry(*order, "--dry-run").out
    made = quay.cli(*order, "--acknowledge-notes")
    assert made["release"] == {
        "bump": "major", "from": ["1.0.0"], "notes": "speaks log-mel now", "unfit": {},
        "acknowledged_by": "ada",
    }  # fmt: skip
    [row] = [row for row in quay.audited() if row["action"] == "rollout.create"][-1:]
    assert (row["details"]["bump"], row["details"]["acknowledged_by"]) == ("major", "ada")
    assert "notes acknowledged by ada" in quay.wherry("rollout", "show", made["id"]).out


def test_a_major_without_notes_cannot_be_acknowledged(quay: Quay) -> None:
    quay.enroll("pump-1")
    quay.install("1.0.0")
    quay.push("2.0.0")
    body = {"model": "digits", "version": "2.0.0", "target": "all", "acknowledge_notes": True}
    assert "has no release notes, a MAJOR version asks for them" in quay.refused(
        "POST", "/rollouts", body
    )


def test_minor_and_patch_need_notes_where_the_organization_asks_for_them(quay: Quay) -> None:
    quay.enroll("pump-1")
    quay.install("1.0.0")
    quay.push("1.0.1")
    quay.push("1.1.0", notes="reads shifted digits")
    quay.push("1.1.1", notes="sevens with a bar are read again")
    quay.at_sea(lambda world: setattr(world.org, "registry", RegistrySettings(needs_notes=True)))
    body = {"model": "digits", "version": "1.0.1", "target": "all"}
    assert "needs_notes in wherry.toml" in quay.refused("POST", "/rollouts", body)
    for version, bump, notes in (
        ("1.1.0", "minor", "reads shifted digits"),
        ("1.1.1", "patch", "sevens with a bar are read again"),
    ):
        made = quay.deploy(version)
        assert (made["release"]["bump"], made["release"]["notes"]) == (bump, notes)
        quay.go(3)
        kept = quay.rest("GET", f"/rollouts/{made['id']}")["release"]
        assert kept["notes"] == notes
