"""docs/agent.md names every key, figure and status that there is."""

import dataclasses
import re
from pathlib import Path

from wherry_agent.config import Config, SourceConfig, UnitConfig
from wherry_agent.telemetry.pack import RESOURCE_UNITS, performance_pack

from tests.agent.shell.test_pack import BASE, counted, seen

PAGE = (Path(__file__).parents[3] / "docs" / "agent.md").read_text()


def documented() -> set[str]:
    return set(re.findall(r"`([a-z0-9_.]+)`", PAGE))


def keys_of(cls, prefix=""):
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.default):
            yield from keys_of(type(field.default), f"{field.name}.")
        elif field.name not in ("source", "unit") or prefix:
            yield prefix + field.name


def test_every_key_of_the_configuration_is_documented():
    keys = {
        *keys_of(Config),
        *keys_of(SourceConfig, "source."),
        *keys_of(UnitConfig, "unit."),
    }
    assert keys - documented() == set()


def test_every_documented_key_exists():
    tables = PAGE[: PAGE.index("## The local door")]
    first_cells = re.findall(r"^\| (`[a-z_.`, ]+`) \|", tables, re.MULTILINE)
    named = {key for cell in first_cells for key in re.findall(r"`([a-z_.]+)`", cell)}
    keys = {
        *keys_of(Config),
        *keys_of(SourceConfig, "source."),
        *keys_of(UnitConfig, "unit."),
    }
    assert named - keys == set()


def test_every_figure_is_documented():
    names = {record.name for record in performance_pack(BASE, seen(counted([5])))}
    assert (names | set(RESOURCE_UNITS)) - documented() == set()
