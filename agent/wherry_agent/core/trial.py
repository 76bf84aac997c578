"""Trial: may the model that was just swapped in stay?

Rules, in order:
1. A dead engine, or a figure above its limit, reverts at once; nothing that arrives later undoes
   it. An error rate counts from `error_samples_min` inferences on, a latency likewise.
2. A start without confirmation counts; at `unconfirmed_starts_max` it reverts (`core.boot`).
3. `good_inferences_min` good inferences and `trial_s_min` seconds confirm.
4. At `trial_s_max` it reverts, or, where the assignment and the manifest allow, the golden
   vectors are asked once more and decide.
5. The manifest's policy binds whoever directs: the stricter of two limits holds.

Pure; `now_us` is monotonic.
"""

from dataclasses import dataclass
from enum import Enum

from wherry_protocol.errors import Code
from wherry_protocol.frozen import quick
from wherry_protocol.manifest import Policy
from wherry_protocol.messages.desired import TrialLimits
from wherry_protocol.replacing import replace

from wherry_agent.core.inputs import Figures

SECOND_US = 1_000_000


@quick
@dataclass(frozen=True, slots=True)
class Trial:
    """A trial under way since `since_us` (or since the agent started)."""

    limits: TrialLimits
    since_us: int
    start_count: int = 0
    good_count: int = 0
    is_golden_asked: bool = False


class Judgement(Enum):
    GO_ON = "go on"
    CONFIRM = "confirm"
    REVERT = "revert"
    ASK_GOLDEN = "ask golden vectors"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and the code and sentence that say why."""

    judgement: Judgement
    code: Code = Code.OK
    reason: str = ""


GO_ON = Verdict(Judgement.GO_ON)


def bounded(limits: TrialLimits, policy: Policy) -> TrialLimits:
    """The stricter of the assignment's limits and the signed policy."""
    trial_s_min = max(limits.trial_s_min, float(policy.trial_s_min))
    return replace(
        limits,
        good_inferences_min=max(limits.good_inferences_min, policy.good_inferences_min),
        trial_s_min=trial_s_min,
        trial_s_max=max(limits.trial_s_max, trial_s_min),
        error_rate_max=min(limits.error_rate_max, policy.error_rate_max),
        unconfirmed_starts_max=min(limits.unconfirmed_starts_max, policy.unconfirmed_starts_max),
        may_confirm_by_golden=limits.may_confirm_by_golden and policy.may_confirm_by_golden,
    )


def _breach(code: Code, what: str, value: float, limit: float, unit: str) -> Verdict:
    text = f"{what} {value:.6g} {unit} is above the trial's limit of {limit:.6g} {unit}"
    return Verdict(Judgement.REVERT, code, text.replace("  ", " "))


def judge_figures(limits: TrialLimits, figures: Figures) -> Verdict:
    """Rule 1: is there a breach in these figures?"""
    total = figures.good_count + figures.error_count
    if figures.is_engine_dead:
        return Verdict(Judgement.REVERT, Code.ENGINE_CRASH, "the engine died in the trial")
    if total < max(1, limits.error_samples_min):
        return GO_ON
    error_rate = figures.error_count / total
    checks = (
        (Code.ERROR_RATE, "error rate", error_rate, limits.error_rate_max, "", True),
        (Code.LATENCY, "mean latency", figures.latency_us_mean, limits.latency_us_mean_max, "us",
         limits.latency_us_mean_max > 0),
        (Code.LATENCY, "p95 latency", figures.latency_us_p95, limits.latency_us_p95_max, "us",
         limits.latency_us_p95_max > 0),
        (Code.ENERGY, "energy per inference", figures.energy_uj_mean, limits.energy_uj_max, "uJ",
         limits.energy_uj_max > 0),
    )  # fmt: skip
    for code, what, value, limit, unit, is_limited in checks:
        if is_limited and value is not None and value > limit:
            return _breach(code, what, value, limit, unit)
    return GO_ON


def judge(trial: Trial, now_us: int) -> Verdict:
    """Rules 3 and 4: is it over?"""
    elapsed_s = (now_us - trial.since_us) / SECOND_US
    limits = trial.limits
    if trial.good_count >= limits.good_inferences_min and elapsed_s >= limits.trial_s_min:
        return Verdict(Judgement.CONFIRM)
    if elapsed_s < limits.trial_s_max or trial.is_golden_asked:
        return GO_ON
    if limits.may_confirm_by_golden:
        return Verdict(Judgement.ASK_GOLDEN)
    return Verdict(
        Judgement.REVERT,
        Code.NOT_CONFIRMED_IN_TIME,
        f"{trial.good_count} good inferences in {elapsed_s:.0f} s, "
        f"{limits.good_inferences_min} are needed within {limits.trial_s_max:.0f} s",
    )
