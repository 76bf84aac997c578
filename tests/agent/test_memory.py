"""What all models of a device together hold loaded, and what gives way where it is too little."""

from dataclasses import replace

import pytest
from wherry_agent.core.acceptance import memory_bytes
from wherry_protocol.errors import Code
from wherry_protocol.messages.desired import Mode, SwapWindow
from wherry_protocol.messages.observed import Kind
from wherry_protocol.messages.reported import ModelReport, Outcome, Phase

from tests.agent.director import NOW_S, hardware_class
from tests.agent.harbour import SETTINGS, Harbour, afloat


class Ship:
    """A device with several models; each wish names what every model shall run."""

    def __init__(self, **changes) -> None:
        self.harbour: Harbour = afloat(**changes)
        self.wanted = {}
        self.made = {}

    def bundle(self, model: str, version: str, rows: int = 400):
        seed = len(self.made)
        made = self.harbour.director.made(version, model=model, seed=seed, ballast_rows=rows)
        self.harbour.publish(made)
        self.made[model, version] = made
        return made

    def assign(self, bundle, budget_bytes: int = 64 << 20, **changes) -> None:
        model = bundle.manifest.model
        self.wanted[model] = self.harbour.director.assignment(bundle, model=model, **changes)
        tight = hardware_class(memory_budget_bytes=budget_bytes)
        self.harbour.wish(list(self.wanted.values()), hardware_class=tight)

    def install(self, bundle, budget_bytes: int = 64 << 20) -> None:
        self.assign(bundle, budget_bytes)
        self.harbour.serve_well(bundle)

    def model(self, name: str) -> ModelReport:
        self.harbour.tick(1.1)
        return next(one for one in self.harbour.reported.models if one.model == name)

    @property
    def loaded(self) -> set[tuple[str, str]]:
        digests = self.harbour.loops.programs.keys()
        return {place for place, one in self.made.items() if one.digest in digests}


LATER = SwapWindow(not_before_s=NOW_S + 3600)


def size(*bundles) -> int:
    return sum(memory_bytes(one.manifest) for one in bundles)


@pytest.fixture
def ship() -> Ship:
    """`digits` went from 1.0.0 to 1.1.0."""
    made = Ship()
    for version in ("1.0.0", "1.1.0"):
        made.install(made.bundle("digits", version))
    assert made.model("digits").is_previous_loaded
    return made


def test_a_candidate_is_refused_where_other_models_leave_no_room(ship):
    other = ship.bundle("words", "1.0.0")
    ship.install(other)
    new = ship.bundle("words", "1.1.0")
    budget = size(*ship.made.values()) - 1
    ship.assign(new, budget, mode=Mode.WARM)
    words = ship.model("words")
    assert (words.outcome, words.code) == (Outcome.REJECTED, Code.OVER_MEMORY)
    held = size(ship.made["digits", "1.0.0"], ship.made["digits", "1.1.0"])
    assert f"other models with {held}" in words.reason
    assert not ship.harbour.live.agent.units["self"].penalties
    ship.assign(new, budget + 1, mode=Mode.WARM, attempt=1)
    assert ship.model("words").outcome is Outcome.READY


def test_the_way_back_of_another_model_gives_way_to_one_that_shall_serve(ship):
    other = ship.bundle("words", "1.0.0")
    ship.install(other, size(*ship.made.values()) - 1)
    assert ship.model("words").outcome is Outcome.CONFIRMED
    assert not ship.model("digits").is_previous_loaded
    assert ship.loaded == {("digits", "1.1.0"), ("words", "1.0.0")}
    assert ship.model("digits").previous.version == "1.0.0"  # on disk


def test_one_that_shall_serve_is_refused_where_what_serves_leaves_no_room(ship):
    other = ship.bundle("words", "1.0.0")
    ship.assign(other, size(other, ship.made["digits", "1.1.0"]) - 1)
    words = ship.model("words")
    assert (words.outcome, words.code) == (Outcome.REJECTED, Code.OVER_MEMORY)
    assert "withdraw another model" in words.reason
    assert ship.model("digits").is_previous_loaded, "nothing was given up for nothing"


def test_the_way_back_gives_way_while_its_model_waits_for_its_window(ship):
    new = ship.bundle("digits", "1.2.0")
    limit = size(*ship.made.values())
    ship.assign(new, limit, window=LATER)
    assert ship.model("digits").phase is Phase.STAGED
    assert len(ship.loaded) == 3
    ship.install(ship.bundle("words", "1.0.0"), limit)
    assert ship.model("words").outcome is Outcome.CONFIRMED
    assert ship.loaded == {("digits", "1.1.0"), ("digits", "1.2.0"), ("words", "1.0.0")}
    digits = ship.model("digits")
    assert (digits.phase, digits.is_previous_loaded) == (Phase.STAGED, False)
    ship.harbour.cut().boot().connect()
    assert not ship.model("digits").is_previous_loaded, "it is remembered"
    ship.harbour.tick(3600.0)
    ship.harbour.serve_well(new)
    digits = ship.model("digits")
    assert (digits.outcome, digits.active.version) == (Outcome.CONFIRMED, "1.2.0")


def test_a_way_back_that_waits_to_serve_again_does_not_give_way(ship):
    back, other = ship.made["digits", "1.0.0"], ship.bundle("words", "1.0.0")
    limit = size(*ship.made.values()) - 1
    ship.assign(back, limit, window=LATER)
    ship.assign(other, limit)
    words = ship.model("words")
    assert (words.outcome, words.code) == (Outcome.REJECTED, Code.OVER_MEMORY)
    assert ship.loaded == {("digits", "1.0.0"), ("digits", "1.1.0")}
    ship.harbour.tick(3600.0)
    ship.harbour.serve_well(back)
    assert ship.harbour.serving == back.digest


def test_the_way_back_of_a_confirmed_one_stays_loaded_only_beside_all_models(ship):
    ship.install(ship.bundle("words", "1.0.0"))
    new = ship.bundle("words", "1.1.0")
    ship.install(new, size(*ship.made.values()) - 1)
    digits, words = ship.model("digits"), ship.model("words")
    assert words.outcome is Outcome.CONFIRMED
    held = sum(size(ship.made[place]) for place in ship.loaded)
    assert held < size(*ship.made.values())
    assert not (digits.is_previous_loaded and words.is_previous_loaded)


def test_a_start_under_a_smaller_limit_loads_what_serves_and_no_more_than_fits(ship):
    ship.assign(ship.bundle("digits", "1.2.0"), mode=Mode.WARM)
    assert len(ship.loaded) == 3
    serving, candidate = (ship.made["digits", f"1.{n}.0"] for n in (1, 2))
    for limit, loaded, outcome in (
        (size(*ship.made.values()), {"1.0.0", "1.1.0", "1.2.0"}, Outcome.READY),
        (size(serving, candidate), {"1.1.0", "1.2.0"}, Outcome.READY),
        (size(serving, candidate) - 1, {"1.1.0"}, Outcome.REJECTED),
    ):
        ship.harbour.settings = replace(SETTINGS, memory_bytes_max=limit)
        ship.harbour.cut().boot()
        assert ship.loaded == {("digits", version) for version in loaded}
        assert ship.harbour.serving == serving.digest
        ship.harbour.connect()
        assert ship.model("digits").outcome is outcome
    assert ship.model("digits").code is Code.OVER_MEMORY


# --- what the kernels prepare, which no manifest states


def test_what_a_load_really_took_makes_a_way_back_give_way(ship):
    other = ship.bundle("words", "1.0.0")
    limit = size(*ship.made.values())
    ship.harbour.prepared_bytes[other.digest] = 1
    ship.install(other, limit)
    assert ship.model("words").outcome is Outcome.CONFIRMED
    assert ship.loaded == {("digits", "1.1.0"), ("words", "1.0.0")}
    new = ship.bundle("words", "1.1.0")
    ship.assign(new, limit, mode=Mode.WARM)
    assert ship.model("words").outcome is Outcome.REJECTED, "one byte is lacking"
    assert f"beside 1.0.0 with {size(other) + 1}" in ship.model("words").reason
    ship.assign(new, limit + 1, mode=Mode.WARM, attempt=1)
    assert ship.model("words").outcome is Outcome.READY


@pytest.mark.parametrize("mode", [Mode.WARM, Mode.ACTIVE])
def test_what_has_no_room_once_it_is_loaded_is_unloaded_and_not_to_blame(ship, mode):
    ship.install(ship.bundle("words", "1.0.0"))
    other = ship.bundle("words", "1.1.0")
    ship.harbour.prepared_bytes[other.digest] = size(ship.made["digits", "1.0.0"])
    limit = size(*ship.made.values())
    if mode is Mode.ACTIVE:
        limit = size(other, ship.made["digits", "1.1.0"])
    ship.assign(other, limit, mode=mode)
    words = ship.model("words")
    assert (words.outcome, words.code) == (Outcome.REJECTED, Code.OVER_MEMORY)
    assert other.digest not in ship.harbour.loops.programs
    assert words.active.version == "1.0.0"
    assert not ship.harbour.live.agent.units["self"].penalties


def test_after_a_start_too_what_was_really_taken_counts(ship):
    ship.assign(ship.bundle("digits", "1.2.0"), mode=Mode.WARM)
    serving = ship.made["digits", "1.1.0"]
    all_of_them = size(*ship.made.values())
    for limit, loaded, outcome in (
        (all_of_them + 9, {"1.0.0", "1.1.0", "1.2.0"}, Outcome.READY),
        (all_of_them, {"1.1.0", "1.2.0"}, Outcome.READY),
        (size(serving, serving), {"1.1.0"}, Outcome.REJECTED),
    ):
        ship.harbour.prepared_bytes[serving.digest] = 9
        ship.harbour.settings = replace(SETTINGS, memory_bytes_max=limit)
        ship.harbour.cut().boot()
        assert ship.loaded == {("digits", version) for version in loaded}
        assert ship.harbour.serving == serving.digest
        ship.harbour.connect()
        assert ship.model("digits").outcome is outcome
    assert ship.model("digits").code is Code.OVER_MEMORY


def test_a_trial_keeps_its_way_back_whatever_the_limit_says(ship):
    new = ship.bundle("digits", "1.2.0")
    ship.assign(new)
    ship.harbour.settings = replace(SETTINGS, memory_bytes_max=size(new))
    ship.harbour.cut().boot().connect()
    assert {("digits", "1.1.0"), ("digits", "1.2.0")} <= ship.loaded
    ship.harbour.loops.doing[new.digest] = {"error_count": 100}
    ship.harbour.tick(0.1)
    assert ship.harbour.serving == ship.made["digits", "1.1.0"].digest
    assert [e.kind for e in ship.harbour.events()].count(Kind.REVERTED) == 1
