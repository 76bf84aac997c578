"""Reading JSON tables that people may have edited: unknown, missing and ill-typed keys by name.

Problems are collected; `finish` raises them all at once, so that a person mends a file once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from wherry_native.compiler.errors import CompileError

Table = Mapping[str, Any]

_NAMES = {
    int: "a whole number",
    str: "a string",
    list: "a list",
    dict: "a table",
    float: "a number",
}


class TableReader:
    """Checks tables against their fields. After `finish` every value has been found good."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def problem(self, sentence: str) -> None:
        if sentence not in self._problems:
            self._problems.append(sentence)

    def finish(self) -> None:
        """Raises CompileError with all problems so far, if there are any."""
        if self._problems:
            raise CompileError(self._problems)

    def table(self, value: Any, where: str, fields: Mapping[str, type]) -> Table:
        """The value as a table with exactly these keys; `object` takes any value."""
        if not isinstance(value, Mapping):
            self.problem(f"{where} is no table")
            return {}
        for key in value:
            if key not in fields:
                self.problem(f"{where} has the unknown key {key!r}")
        for key, kind in fields.items():
            if key not in value:
                self.problem(f"{where} lacks the key {key!r}")
            elif not _is(value[key], kind):
                self.problem(f"{where}.{key} must be {_NAMES[kind]}")
        return value

    def tables(self, table: Table, where: str, key: str, fields: Mapping[str, type]) -> list[Table]:
        """A list of tables with exactly these keys. Raises CompileError."""
        records = [
            self.table(entry, f"{where}.{key}[{index}]", fields)
            for index, entry in enumerate(table[key])
        ]
        self.finish()
        return records

    @staticmethod
    def numbered(records: Iterable[Table], where: str) -> Iterator[tuple[str, Table]]:
        for index, record in enumerate(records):
            yield f"{where}[{index}]", record

    def equal(self, table: Table, where: str, key: str, wanted: int) -> None:
        if table[key] != wanted:
            self.problem(f"{where}.{key} is {table[key]}, must be {wanted}")

    def member(self, value: str, where: str, wanted: Sequence[str]) -> None:
        if value not in wanted:
            self.problem(f"{where} is {value!r}, must be one of {', '.join(wanted)}")

    def integers(
        self, values: Sequence[Any], where: str, low: int = 0, high: int = 2**32 - 1
    ) -> None:
        if not all(_is(value, int) and low <= value <= high for value in values):
            self.problem(f"{where} must be whole numbers from {low} to {high}")


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))
