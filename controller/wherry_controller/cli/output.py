"""What a command shows: a table or sentence for a person, JSON for a program; errors alike."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text
from wherry_protocol.errors import WherryError

PIPED_COLUMNS: Final = 1000
PROGRESS_BYTES_MIN: Final = 1 << 20
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
        print(printable(text))


def printable(text: str) -> str:
    """`text` with control characters escaped: what a device says must not drive a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def time_text(seconds: float | None) -> str:
    """Unix seconds as a date and time in UTC."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def show_rows(rows: Sequence[dict[str, Any]], columns: Iterable[str], empty: str) -> None:
    """Rows as a JSON array, or as a table of the named columns; `empty` where there are none."""
    if wants_json():
        print(json.dumps(list(rows), indent=2, ensure_ascii=False))
    elif not rows:
        print(empty)
    else:
        _print_table(rows, tuple(columns))


def _print_table(rows: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """Cells are plain text (no markup); where nobody watches, lines are as long as they are."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(_cell(row.get(column)))) for column in columns))
    width = None if sys.stdout.isatty() else PIPED_COLUMNS
    Console(width=width).print(table)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say on a terminal what is going on, while it takes its time."""
    console = Console(stderr=True)
    if not console.is_terminal or wants_json():
        yield
        return
    with console.status(Text(printable(f"{what} …"))):
        yield


@contextmanager
def progress(what: str, size_bytes: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; what it gives is called with each further number of bytes."""
    console = Console(stderr=True)
    is_shown = console.is_terminal and not wants_json() and size_bytes >= PROGRESS_BYTES_MIN
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not is_shown)
    with bar:
        task = bar.add_task(printable(what), total=size_bytes)
        yield lambda count: bar.advance(task, count)


def show_error(error: WherryError) -> None:
    """One sentence on stderr, or {"error", "code"} with --json."""
    if wants_json():
        shown = {"error": str(error), "code": error.code.name.lower()}
        print(json.dumps(shown, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"wherry: {printable(str(error))}", file=sys.stderr)
