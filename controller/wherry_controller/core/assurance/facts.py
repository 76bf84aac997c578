"""What is known of a rollout that is about to start: counts and names, never the whole fleet."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BackTarget:
    """Units of one class that serve one version now: where they would go back to.

    `version` is empty where nothing of the model is served yet. `example` is one of the units.
    """

    hardware_class: str
    version: str
    count: int
    example: str
    digest: str = ""  # of what they serve
    is_in_registry: bool = True
    has_budget: bool = True
    is_above_floor: bool = True  # the new version's security floor lets it come back
    has_failed: bool = False  # it failed on these units before


@dataclass(frozen=True, slots=True)
class Passed:
    """A suite that the exact bundle passed on some unit of a class in an environment."""

    suite: str
    hardware_class: str
    environment: str


@dataclass(frozen=True, slots=True)
class Shadowed:
    """The newest verdict of a shadow of the new bundle beside the bundle `primary`."""

    primary: str
    is_passed: bool
    rollout: str
    text: str


@dataclass(frozen=True, slots=True)
class Power:
    """What the model may take on a class, and took there by each method; None: nobody said."""

    hardware_class: str
    budget_mw: float | None
    highest_mw: float | None = None
    method: str = ""


@dataclass(frozen=True, slots=True)
class Drill:
    """The newest drill of the model that passed."""

    at_s: float
    duration_s: float
    unit: str


@dataclass(frozen=True, slots=True)
class Facts:
    """A rollout and the units that it selects. Times are Unix seconds; None: not known."""

    model: str
    version: str
    now_s: float
    created_by: str = ""
    started_by: str = ""  # who approves or starts it now
    on_call: str = ""
    is_emergency: bool = False
    environments: Mapping[str, int] = field(default_factory=dict)  # label env -> units
    classes: Mapping[str, int] = field(default_factory=dict)  # hardware class -> units
    back: tuple[BackTarget, ...] = ()
    has_safe_output: bool = False
    is_all_at_once: bool = False  # the first stage lets it serve everywhere
    gated_stages: int = 0
    stage_count: int = 0
    required: tuple[str, ...] = ()  # the checks that a gated stage must pass
    gate: str = ""  # its thresholds in one line
    quiet: int = 0  # units whose telemetry is older than three of their intervals
    quiet_example: str = ""
    passed: tuple[Passed, ...] = ()
    drill: Drill | None = None
    alert_test: tuple[float, bool] | None = None  # when, and whether all of it arrived
    serves: bool = True  # some stage lets it answer; a mere shadow never does
    shadows: tuple[Shadowed, ...] = ()
    power: tuple[Power, ...] = ()  # of each class
    host_tests: tuple[int, int] | None = None  # passed and not passed, as the bundle says
    is_announced: bool | None = None  # has the announcement arrived? None: nobody was told yet
    stage: str = ""  # of the version in the registry
    failed_gates: tuple[str, ...] | None = None  # release gates that it does not pass

    @property
    def unit_count(self) -> int:
        return sum(self.classes.values())
