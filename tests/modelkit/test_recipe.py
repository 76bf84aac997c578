"""The recipe: what it may say, and what it is told when it says something else."""

import pytest
from wherry_controller.modelkit.recipe import GOLDEN_COUNT, Recipe, read_recipe
from wherry_protocol.errors import DecodeError


def test_an_empty_recipe_is_the_default() -> None:
    assert read_recipe("", "pump.toml") == Recipe()
    assert Recipe().golden_count == GOLDEN_COUNT


def test_a_recipe_holds_what_the_model_file_cannot_say() -> None:
    recipe = read_recipe(
        """
        author = "ada"
        state_policy = "warm_up"
        comparator = "tolerance"
        tolerance_lsb = 2
        safe_output = [0.0, 1.0]
        security_floor = "1.2.0"
        [budgets.linux-arm64]
        latency_us_p95 = 2000
        memory_bytes = 1_000_000
        energy_uj = 12.5
        [[evaluations]]
        dataset = "held out"
        sample_count = 300
        accuracy = 0.97
        [policy]
        good_inferences_min = 50
        rpc_verbs = ["status", "time"]
        [provenance]
        git_commit = "abc"
        """,
        "pump.toml",
    )
    assert recipe.author == "ada"
    assert recipe.state_policy.name == "WARM_UP"
    assert recipe.safe_output == (0.0, 1.0)
    assert recipe.budgets["linux-arm64"].energy_uj == 12.5
    assert recipe.evaluations[0].accuracy == 0.97
    assert [verb.name for verb in recipe.policy.rpc_verbs] == ["STATUS", "TIME"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("descripton = 'x'", ["pump.toml", "'descripton'", "description"]),
        ("[budgets.linux-arm64]\nlatency_us = 5", ["pump.toml.budgets", "'latency_us'"]),
        ("[budgets.linux-arm64]\nmemory_bytes = 5", ["latency_us_p95", "missing"]),
        ("[budgets.'../x']\nlatency_us_p95 = 1\nmemory_bytes = 1", ["budgets", "../x"]),
        ("golden_count = 0", ["golden_count", "0", "1"]),
        ("golden_count = 5000", ["golden_count", "5000", "4096"]),
        ("golden_count = '5'", ["golden_count"]),
        ("state_policy = 'sometimes'", ["state_policy", "sometimes"]),
        ("valid_min = nan", ["valid_min"]),
        ("security_floor = '1.x'", ["security_floor", "1.x"]),
        ("evaluations = 3", ["evaluations"]),
        ("[[evaluations]]\ndataset = 'd'\nsample_count = 1\naccuracy = 1.5", ["accuracy", "1.5"]),
        ("labels = [1]", ["labels"]),
        ("= 3", ["pump.toml", "not TOML", "line 1"]),
    ],
)
def test_a_mistake_in_a_recipe_is_named_with_its_place(text: str, words: list[str]) -> None:
    with pytest.raises(DecodeError) as caught:
        read_recipe(text, "pump.toml")
    assert "\n" not in str(caught.value)
    assert [word for word in words if word not in str(caught.value)] == []
