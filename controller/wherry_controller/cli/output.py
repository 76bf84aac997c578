"""What a command shows: a table or sentence for a person, JSON for a program; errors alike."""

import json
import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from wherry_protocol.errors import WherryError

_wants_json: ContextVar[bool] = ContextVar("wants_json", default=False)


def _remember(value: bool) -> bool:
    _wants_json.set(value)
    return value


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of text.", callback=_remember)
]


ReasonOption = Annotated[str, typer.Option(help="Why; it is audited.")]
TargetOption = Annotated[
    str, typer.Option(help="Which units: all, label:site=oslo, class=linux-arm64, pump-17, …")
]


def wants_json() -> bool:
    """Whether this call was made with --json."""
    return _wants_json.get()


def forget_json() -> None:
    """Back to text, before another call in the same process."""
    _wants_json.set(False)


def show(result: Any, text: str) -> None:
    """`result` as JSON, or `text`."""
    if wants_json():
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        print(text)


def show_rows(rows: Sequence[dict[str, Any]], columns: Iterable[str], empty: str) -> None:
    """Rows as a JSON array, or as a table of the named columns; `empty` where there are none."""
    if wants_json():
        print(json.dumps(list(rows), indent=2, ensure_ascii=False))
    elif not rows:
        print(empty)
    else:
        _print_table(rows, tuple(columns))


def _print_table(rows: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console(soft_wrap=not sys.stdout.isatty()).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def show_error(error: WherryError) -> None:
    """One sentence on stderr, or {"error", "code"} with --json."""
    if wants_json():
        shown = {"error": str(error), "code": error.code.name.lower()}
        print(json.dumps(shown, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"wherry: {error}", file=sys.stderr)
