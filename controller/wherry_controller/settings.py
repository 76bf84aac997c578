"""`wherry.toml`: what an operator may set for one organization's controller.

Every number has bounds, unknown keys are refused by name, and a mistake is one sentence.
"""

import dataclasses
import difflib
import json
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from wherry_protocol.errors import Code, NotFoundError, WherryError
from wherry_protocol.names import MODEL, ORG, check_name

from wherry_controller.core.assurance import PRECONDITIONS, Policy
from wherry_controller.core.assurance.policy import parse_policies, policies_to_toml
from wherry_controller.core.notify.routes import Route, routes_of
from wherry_controller.core.registry.gates import GateLimits


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """`device_host` is the broker as devices reach it, `host` as the controller does.

    With `is_tls`, `ca_file` is what devices and the controller trust (it goes into every
    enrolment), `cert_file` and `key_file` are the broker's own, for the written configuration.

    `provisioning`: `mosquitto` rewrites that broker's password and access files and has it read
    them again; `none` leaves logins to you.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    device_host: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    is_tls: bool = False
    provisioning: str = "mosquitto"


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Where the API listens. Anything but loopback belongs behind a TLS proxy."""

    host: str = "127.0.0.1"
    port: int = 8470
    body_bytes_max: int = 1 << 20
    bundle_bytes_max: int = 256 << 20


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """Times of the fleet's service; what is kept, and for how long."""

    desired_valid_s: int = 7 * 86_400
    time_interval_s: int = 300
    chunk_valid_s: int = 7 * 86_400
    chunk_republish_s: int = 60
    window_s: int = 60
    reports_keep: int = 200_000
    events_keep: int = 200_000
    windows_keep_s: int = 90 * 86_400
    boots_keep: int = 1000
    needs_approver: bool = False  # a rollout that an operator drafts waits for an approver


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """What the registry asks of a version."""

    needs_notes: bool = False  # every rollout needs release notes, not only one of a new MAJOR
    gates: dict[str, GateLimits] = field(default_factory=dict)  # by model, [gates.NAME]

    def limits(self, model: str) -> GateLimits:
        """The gates of a model: the default ones, or its own."""
        return self.gates.get(model, GateLimits())


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """When an alert is over, and from where on the controller's own room is one."""

    recovery_s: int = 60
    disk_free_bytes_min: int = 1 << 30
    database_bytes_max: int = 64 << 30
    link_down_s: int = 60
    watch_s: int = 86_400  # after a rollout has succeeded; 0: not at all
    report_s: int = 0  # between reports of the fleet; 0: only when asked for


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file."""

    organization: str
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    fleet: FleetSettings = field(default_factory=FleetSettings)
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    routes: tuple[Route, ...] = ()
    environments: dict[str, Policy] = field(default_factory=dict)  # by label `env`


SECTIONS: Final = {
    "broker": BrokerSettings,
    "http": HttpSettings,
    "fleet": FleetSettings,
    "registry": RegistrySettings,
    "alerts": AlertSettings,
}
BOUNDS: Final = {
    "port": (1, 65_535),
    "body_bytes_max": (1024, 64 << 20),
    "bundle_bytes_max": (1024, 2 << 30),
    "desired_valid_s": (600, 365 * 86_400),
    "time_interval_s": (1, 86_400),
    "chunk_valid_s": (60, 365 * 86_400),
    "chunk_republish_s": (1, 86_400),
    "window_s": (1, 3600),
    "reports_keep": (0, 1 << 40),
    "events_keep": (0, 1 << 40),
    "windows_keep_s": (3600, 3650 * 86_400),
    "boots_keep": (10, 1 << 20),
    "recovery_s": (0, 86_400),
    "disk_free_bytes_min": (0, 1 << 62),
    "database_bytes_max": (1, 1 << 62),
    "link_down_s": (1, 86_400),
    "watch_s": (0, 172_800),
    "report_s": (0, 30 * 86_400),
    "accuracy_min": (0.0, 1.0),
    "f1_macro_min": (0.0, 1.0),
    "latency_us_p95_max": (1, 3_600_000_000),
    "latency_runs_min": (1, 1 << 40),
}
PROVISIONING: Final = ("mosquitto", "none")


def load(path: Path) -> Settings:
    """Raises NotFoundError, or WherryError(INVALID) naming the key, the value and the limit."""
    try:
        text = path.read_text()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} is missing: run `wherry init` first") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WherryError(f"{path}: not TOML ({error})", Code.INVALID) from error
    return parse(table, str(path))


def parse(table: dict[str, Any], where: str) -> Settings:
    """Settings from a parsed TOML table. Raises WherryError(INVALID)."""
    tables = {"organization", "routes", "environments", "gates", *SECTIONS}
    _refuse_unknown(table, tables, where)
    name = table.get("organization")
    if not isinstance(name, str):
        raise WherryError(f"{where}: organization must be a name, is {name!r}", Code.INVALID)
    sections = {key: _section(kind, table.get(key, {}), f"{where}: [{key}]")
                for key, kind in SECTIONS.items()}  # fmt: skip
    gates = _gates(table.get("gates", {}), where)
    sections["registry"] = replace(sections["registry"], gates=gates)
    routes = routes_of(table.get("routes", []), where)
    demanded = parse_policies(
        table.get("environments", {}), PRECONDITIONS, f"{where}: [environments]"
    )
    return Settings(
        check_name("organization", ORG, name), routes=routes, environments=demanded, **sections
    )


def _gates(tables: Any, where: str) -> dict[str, GateLimits]:
    """`[gates.NAME]` of each model that has limits of its own."""
    if not isinstance(tables, dict):
        raise WherryError(f"{where}: gates must be tables, [gates.MODEL]", Code.INVALID)
    return {
        check_name("model", MODEL, name): _section(GateLimits, one, f"{where}: [gates.{name}]")
        for name, one in tables.items()
    }


def _section(kind: type[Any], table: Any, where: str) -> Any:
    if not isinstance(table, dict):
        raise WherryError(f"{where} must be a table", Code.INVALID)
    known = {f.name: f for f in fields(kind) if f.default is not dataclasses.MISSING}
    _refuse_unknown(table, set(known), where)
    for key, value in table.items():
        _check(key, value, known[key].default, where)
    return kind(**table)


def _check(key: str, value: Any, default: Any, where: str) -> None:
    if type(value) is not type(default):
        wanted = type(default).__name__
        raise WherryError(f"{where} {key}: {value!r}, must be of type {wanted}", Code.INVALID)
    low, high = BOUNDS.get(key, (None, None))
    if low is not None and not low <= value <= high:
        raise WherryError(f"{where} {key}: {value}, must be in {low}..{high}", Code.INVALID)
    if key == "provisioning" and value not in PROVISIONING:
        raise WherryError(
            f"{where} {key}: {value!r}, must be one of {', '.join(PROVISIONING)}", Code.INVALID
        )


def _refuse_unknown(table: dict[str, Any], known: set[str], where: str) -> None:
    for key in sorted(table.keys() - known):
        close = difflib.get_close_matches(key, known, 1)
        all_known = f"known are {', '.join(sorted(known))}"
        hint = f", did you mean {close[0]!r}?" if close else f", {all_known}"
        raise WherryError(f"{where}: unknown key {key!r}{hint}", Code.UNKNOWN_FIELD)


def to_toml(settings: Settings) -> str:
    """The file that `load` reads back as the same settings."""
    lines = [f"organization = {json.dumps(settings.organization)}"]
    for name in SECTIONS:
        lines.append(f"\n[{name}]")
        section = dataclasses.asdict(getattr(settings, name))
        section.pop("gates", None)  # has tables of its own
        lines += [f"{key} = {json.dumps(value)}" for key, value in section.items()]
    models = settings.registry.gates
    for name, limits in models.items():
        lines.append(f"\n[gates.{name}]")
        section = dataclasses.asdict(limits)
        lines += [f"{key} = {json.dumps(value)}" for key, value in section.items()]
    for route in settings.routes:
        lines.append("\n[[routes]]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in dataclasses.asdict(route).items()
                  if value]  # fmt: skip
    lines += policies_to_toml(settings.environments)
    return "\n".join(lines) + "\n"
