"""agent.toml: what the device's owner sets, read once, every number bounded.

Rules:
1. Only `state_dir` must be there; everything else has a default that is safe on a small device.
2. An unknown key is refused by name, with the nearest known one; nothing is ignored silently.
3. The first mistake ends the reading with one sentence: file, key, limit and value (exit code 2).
4. Relative paths are relative to the folder of the file.

    >>> parse_config('state_dir = "/var/lib/wherry"').http.port
    8080
"""

# ruff: noqa: ARG001, RUF009  (every check takes the same parameters; a field is declared by a
# function that adds its check)

import dataclasses
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from wherry_protocol.errors import WherryError
from wherry_protocol.names import MODEL, SELF, UNIT

from wherry_agent.core.breaker import FAILURES_MAX

T = TypeVar("T")
Check = Callable[[Any, str, Path], Any]  # (raw value, dotted key, folder of the file) -> value

FILE_BYTES_MAX: Final = 256 * 1024
MIB: Final = 1024 * 1024


class ConfigError(WherryError):
    """A mistake in agent.toml; the text is one sentence for the device's owner."""

    exit_status = 2


def _key(check: Check, default: Any = dataclasses.MISSING) -> Any:
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata={"check": check})
    return dataclasses.field(default=default, metadata={"check": check})


def _whole(low: int, high: int) -> Check:
    def check(raw: Any, where: str, folder: Path) -> int:
        if type(raw) is not int:
            raise ConfigError(f"{where} = {raw!r} must be a whole number in {low}..{high}")
        if not low <= raw <= high:
            raise ConfigError(f"{where} = {raw} is out of its limits {low}..{high}")
        return raw

    return check


def _number(low: float, high: float) -> Check:
    def check(raw: Any, where: str, folder: Path) -> float:
        if type(raw) not in (int, float) or not math.isfinite(raw):
            raise ConfigError(f"{where} = {raw!r} must be a number in {low:g}..{high:g}")
        if not low <= raw <= high:
            raise ConfigError(f"{where} = {raw} is out of its limits {low:g}..{high:g}")
        return float(raw)

    return check


def _text(raw: Any, where: str, size_max: int) -> str:
    if type(raw) is not str or not 1 <= len(raw) <= size_max:
        raise ConfigError(f"{where} = {raw!r} must be text of 1 to {size_max} characters")
    return raw


def _path(raw: Any, where: str, folder: Path) -> Path:
    text = _text(raw, where, 4096)
    if "\0" in text:
        raise ConfigError(f"{where} = {raw!r} must be a path without NUL")
    return folder / Path(text).expanduser()


def _device(raw: Any, where: str, folder: Path) -> str:
    """A serial port: a path, or a pyserial URL such as `socket://127.0.0.1:4000`."""
    text = _text(raw, where, 4096)
    return text if "://" in text else str(_path(text, where, folder))


def _one_of(*words: str) -> Check:
    def check(raw: Any, where: str, folder: Path) -> str:
        if raw not in words:
            raise ConfigError(f"{where} = {raw!r} must be one of {', '.join(words)}")
        return str(raw)

    return check


def _short_text(raw: Any, where: str, folder: Path) -> str:
    return _text(raw, where, 255)


def _flag(raw: Any, where: str, folder: Path) -> bool:
    if type(raw) is not bool:
        raise ConfigError(f"{where} = {raw!r} must be true or false")
    return raw


def _model_name(raw: Any, where: str, folder: Path) -> str:
    if type(raw) is not str or not MODEL.fullmatch(raw):
        raise ConfigError(f"{where} = {raw!r} is no model name, it must match {MODEL.pattern}")
    return raw


def _unit_name(raw: Any, where: str, folder: Path) -> str:
    if type(raw) is not str or not UNIT.fullmatch(raw):
        raise ConfigError(f"{where} = {raw!r} is no unit name, it must match {UNIT.pattern}")
    return raw


def _table(cls: type[Any]) -> Check:
    def check(raw: Any, where: str, folder: Path) -> Any:
        return _read_table(cls, raw, where, folder)

    return check


def _tables(cls: type[Any], count_max: int) -> Check:
    def check(raw: Any, where: str, folder: Path) -> tuple[Any, ...]:
        if type(raw) is not list:
            raise ConfigError(f"{where} must be written as [[{where}]] tables")
        if len(raw) > count_max:
            raise ConfigError(f"{where} has {len(raw)} tables, at most {count_max}")
        return tuple(_read_table(cls, item, f"{where}[{i}]", folder) for i, item in enumerate(raw))

    return check


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """The local door for inference and status. Port 0 takes any free one."""

    enabled: bool = _key(_flag, True)
    host: str = _key(_short_text, "127.0.0.1")
    port: int = _key(_whole(0, 65_535), 8080)
    body_bytes_max: int = _key(_whole(1024, 64 * MIB), 4 * MIB)
    connections_max: int = _key(_whole(1, 256), 16)
    request_s_max: float = _key(_number(0.1, 300.0), 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """What the agent may use, whatever arrives."""

    storage_bytes_max: int = _key(_whole(MIB, 1 << 40), 256 * MIB)
    memory_bytes_max: int = _key(_whole(MIB, 1 << 40), 64 * MIB)
    spool_bytes_max: int = _key(_whole(64 * 1024, 1 << 34), 8 * MIB)
    spool_hold_s: float = _key(_number(0.0, 3600.0), 60.0)
    events_per_minute_max: int = _key(_whole(1, 10_000), 30)
    revisions_per_minute_max: int = _key(_whole(1, 10_000), 60)
    queue_capacity: int = _key(_whole(1, 65_536), 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConfig:
    """The connection to the broker; who and where come with the enrolment."""

    keepalive_s: int = _key(_whole(5, 3600), 60)
    reconnect_s_min: float = _key(_number(0.05, 600.0), 1.0)
    reconnect_s_max: float = _key(_number(0.05, 3600.0), 120.0)
    progress_s_max: float = _key(_number(1.0, 86_400.0), 120.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyConfig:
    """Where energy figures come from. `auto`: hwmon, else RAPL, else the class's model.

    `rail` names the one hwmon channel to count (its label); without it all channels are added.
    """

    source: str = _key(_one_of("auto", "hwmon", "rapl", "model", "none"), "auto")
    hwmon_root: Path = _key(_path, Path("/sys/class/hwmon"))
    powercap_root: Path = _key(_path, Path("/sys/class/powercap"))
    sample_s: float = _key(_number(0.01, 2.0), 0.5)
    uncertainty: float | None = _key(_number(0.0, 1.0), None)
    rail: str | None = _key(_short_text, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcesConfig:
    """Where the host's figures are read; other roots serve tests and containers."""

    proc_root: Path = _key(_path, Path("/proc"))
    thermal_root: Path = _key(_path, Path("/sys/class/thermal"))
    network_root: Path = _key(_path, Path("/sys/class/net"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerConfig:
    """When a confirmed bundle that fails in a row no longer answers, and for how long."""

    enabled: bool = _key(_flag, True)
    failures_max: int = _key(_whole(1, FAILURES_MAX), 5)
    open_s: float = _key(_number(0.1, 86_400.0), 60.0)
    successes_min: int = _key(_whole(1, FAILURES_MAX), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBackConfig:
    """When a confirmed bundle has failed for too long, and the one before it serves for good."""

    error_rate_max: float = _key(_number(0.0, 1.0), 0.10)
    samples_min: int = _key(_whole(1, 100_000), 20)
    window_s: float = _key(_number(1.0, 86_400.0), 30.0)
    windows_min: int = _key(_whole(1, 1000), 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """One feed of inputs: `replay` runs a file of samples for ever, one each period.

    `int8` files hold quantized bytes as the engine takes them; `float32` files hold little-endian
    real units, quantized for whichever version serves. `unit` feeds a microcontroller instead.
    """

    unit: str = _key(_unit_name, SELF)
    model: str = _key(_model_name)
    kind: str = _key(_one_of("replay"), "replay")
    path: Path = _key(_path)
    format: str = _key(_one_of("int8", "float32"), "int8")
    period_ms: float = _key(_number(0.05, 86_400_000.0), 1000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitConfig:
    """A microcontroller behind this gateway."""

    name: str = _key(_unit_name)
    kind: str = _key(_one_of("mcu"), "mcu")
    port: str = _key(_device)
    baud: int = _key(_whole(1200, 4_000_000), 115_200)
    response_s_max: float = _key(_number(0.1, 120.0), 5.0)
    poll_s: float = _key(_number(0.1, 3600.0), 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """agent.toml as a whole."""

    state_dir: Path = _key(_path)
    log_level: str = _key(_one_of("debug", "info", "warning", "error"), "info")
    http: HttpConfig = _key(_table(HttpConfig), HttpConfig())
    limits: LimitsConfig = _key(_table(LimitsConfig), LimitsConfig())
    link: LinkConfig = _key(_table(LinkConfig), LinkConfig())
    energy: EnergyConfig = _key(_table(EnergyConfig), EnergyConfig())
    resources: ResourcesConfig = _key(_table(ResourcesConfig), ResourcesConfig())
    breaker: BreakerConfig = _key(_table(BreakerConfig), BreakerConfig())
    way_back: WayBackConfig = _key(_table(WayBackConfig), WayBackConfig())
    source: tuple[SourceConfig, ...] = _key(_tables(SourceConfig, 32), ())
    unit: tuple[UnitConfig, ...] = _key(_tables(UnitConfig, 31), ())


def read_config(path: Path) -> Config:
    """The configuration in a file. Raises ConfigError, also where the file cannot be read."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path} is larger than {FILE_BYTES_MAX} bytes: it is no agent.toml")
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from error
    try:
        return parse_config(text, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_config(text: str, folder: Path = Path()) -> Config:
    """The configuration in TOML text; `folder` is where relative paths start."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"this is not TOML: {error}") from error
    config = _read_table(Config, raw, "", folder)
    _check_together(config)
    return config


def _read_table(cls: type[T], raw: Any, where: str, folder: Path) -> T:
    """`cls` is one of the dataclasses above, which mypy cannot say of a T."""
    if type(raw) is not dict:
        raise ConfigError(f"{where} = {raw!r} must be a table")
    prefix = f"{where}." if where else ""
    # Whoever calls hands in a dataclass; `type[T]` cannot say so.
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    _refuse_unknown(raw, fields, prefix)
    values = {}
    for name, field in fields.items():
        if name in raw:
            values[name] = field.metadata["check"](raw[name], prefix + name, folder)
        elif field.default is dataclasses.MISSING:
            raise ConfigError(f"{prefix}{name} is missing and has no default")
    return cls(**values)


def _refuse_unknown(raw: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> None:
    for name in raw:
        if name in known:
            continue
        import difflib  # only where there is a mistake to name

        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(known)}"
        raise ConfigError(f"{prefix}{name} is not a known key, {hint}")


def _check_together(config: Config) -> None:
    """What no single key can show."""
    units = [unit.name for unit in config.unit]
    fed = [source.unit for source in config.source if source.unit != SELF]
    _refuse_twice("source for unit", fed)
    _refuse_twice("unit", units)
    if SELF in units:
        raise ConfigError(
            f"unit {SELF!r} is the agent itself, a microcontroller needs another name"
        )
    _refuse_twice("source for", [f"{source.unit}/{source.model}" for source in config.source])
    for source in config.source:
        if source.unit not in (SELF, *units):
            raise ConfigError(f"source for unit {source.unit!r}, but there is no such [[unit]]")
    if config.link.reconnect_s_min > config.link.reconnect_s_max:
        raise ConfigError(
            f"link.reconnect_s_min = {config.link.reconnect_s_min} is above "
            f"link.reconnect_s_max = {config.link.reconnect_s_max}"
        )
    if config.limits.spool_bytes_max > config.limits.storage_bytes_max:
        raise ConfigError(
            f"limits.spool_bytes_max = {config.limits.spool_bytes_max} is above "
            f"limits.storage_bytes_max = {config.limits.storage_bytes_max}"
        )


def _refuse_twice(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{what} {name!r} is there {names.count(name)} times, once is enough")
