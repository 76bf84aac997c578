"""Bodies of requests, checked by pydantic; unknown keys are refused."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Reason = Annotated[str, Field(min_length=1, max_length=256, description="why; it is audited")]
Target = Annotated[
    str, Field(min_length=1, max_length=4096, description="a selector, like label:site=oslo")
]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewOperator(Shape):
    name: str
    role: Literal["viewer", "operator", "approver", "admin"]


class WithReason(Shape):
    reason: Reason


class Approval(WithReason):
    force: list[str] = Field(default_factory=list, description="preconditions that may fail")


class Enrolment(Shape):
    request: str = Field(max_length=200_000, description="the device's signed request, base64")
    is_again: bool = Field(False, description="answer a device that is enrolled already")


class Configuration(Shape):
    """What to change of a unit; what is left out stays."""

    performance_s: int | None = Field(None, ge=1, le=86_400)
    resources_s: int | None = Field(None, ge=1, le=86_400)
    json_mirror: bool | None = None
    chunk_window: int | None = Field(None, ge=1, le=8)
    labels: dict[str, str] | None = None


class AskedOfUnit(Shape):
    """A question to a unit; `input` is base64 of the model's quantized input bytes."""

    verb: Literal["status", "infer", "verify", "logs", "reset_breaker"]
    model: str = ""
    input: str = Field("", max_length=100_000)
    count: int = Field(50, ge=1, le=200)
    reason: str = Field("", max_length=256)


class EnergyModelShape(Shape):
    nj_per_cycle: float
    uncertainty: float
    idle_mw: float = 0.0
    calibrated_s: int | None = None


class ClassShape(Shape):
    """A hardware class; a limit that is left out is not limited by the class."""

    name: str
    architecture: str
    ram_bytes: int
    flash_bytes: int
    memory_budget_bytes: int
    storage_budget_bytes: int
    latency_us_max: int | None = None
    power_mw_max: float | None = None
    energy_uj_max: float | None = None
    temperature_c_min: float | None = None
    temperature_c_max: float | None = None
    energy_model: EnergyModelShape | None = None


class NewRollout(Shape):
    """`plan` is the table of a rollout file: strategy or stages, preset, subset, gate, trial."""

    model: str
    version: str
    target: Target
    plan: dict[str, Any] = Field(default_factory=dict)
    reason: str = Field("", max_length=256)
    start: bool = Field(True, description="false leaves it a draft that an approver starts")
    emergency: bool = Field(False, description="no dwell, no approval; audited, all are told")
    force: list[str] = Field(default_factory=list, description="preconditions that may fail")
    acknowledge_notes: bool = Field(
        False, description="the release notes were read; a new MAJOR version needs it"
    )


class NewGroup(Shape):
    name: str = Field(max_length=64)
    target: Target
    is_dynamic: bool = Field(False, description="whoever matches at any time")


class PromotionRequest(Shape):
    """`to` is the next stage, or production at once where an admin skips staging."""

    to: Literal["development", "staging", "production"]
    justification: Reason
    skip_staging: bool = False


class PromotionApproval(Shape):
    reason: str = Field("", max_length=256)
    override_gates: bool = Field(False, description="although gates fail; needs a reason")


class RetentionPolicy(Shape):
    """What is kept of each model; what serves, or is a way back, is kept whatever stands here."""

    versions_max: int = Field(5, ge=1, le=100_000)
    accuracy_min: float = Field(0.7, ge=0.0, le=1.0)
    age_days_max: float = Field(30.0, gt=0.0, le=36_500.0)
    is_scheduled: bool = Field(True, description="applied every hour and after each rollout")
    keep_deployed: Literal[True] = Field(
        True, description="active versions and ways back are never deleted; it cannot be false"
    )
    reason: Reason


class RetentionRun(Shape):
    model: str | None = None
    reason: Reason


class Widening(Shape):
    subset: str = Field(description="25% or 0.25")
    reason: str = Field("", max_length=256)


class SlotChange(Shape):
    """Slots are blue and green, or named with their environment: production-green."""

    from_slot: str = Field(description="the slot that serves now", max_length=80)
    to_slot: str = Field(description="the slot that is to serve", max_length=80)
    reason: str = Field("", max_length=256, description="why; switching back needs one")


class Decommissioning(Shape):
    reason: str = Field("", max_length=256)
    is_purged: bool = Field(False, description="delete the bytes too")


class NewMetric(Shape):
    """A sample of a custom metric; unit, target or rollout, or none for everybody."""

    name: str = Field(max_length=32)
    value: float
    unit: str | None = Field(None, max_length=96)
    target: Target | None = None
    rollout: str | None = Field(None, max_length=128)


class Rollback(Shape):
    model: str
    target: Target
    to_version: str | None = Field(None, description="left out: each unit's previous version")
    reason: Reason
    plan: dict[str, Any] = Field(default_factory=dict)
    emergency: bool = Field(False, description="audited by itself, and everybody is told")


class NewTick(Shape):
    item: str = Field(max_length=64)
    note: str = Field(min_length=1, max_length=256, description="what was done; it is audited")


class NewNote(Shape):
    text: str = Field(min_length=1, max_length=1024)


class NewVerification(Shape):
    """A suite, or `deployment`: checks with the limits of a verification.json.

    `version`: what must serve (deployment), or where a drill swaps to; left out: what is assigned,
    or the previous version. `plan` is of a rollout file: its trial counts in a drill.
    """

    suite: Literal["smoke", "integration", "production", "full", "drill", "deployment"]
    target: Target
    model: str = ""
    version: str | None = None
    limits: dict[str, Any] = Field(default_factory=dict)
    plan: dict[str, Any] = Field(default_factory=dict)
    reason: str = Field("", max_length=256, description="why; a drill and full need one")


class StopOrder(Shape):
    is_stopped: bool
    reason: Reason


class NewRoot(Shape):
    root: str = Field(max_length=200_000, description="the next root document, base64")
