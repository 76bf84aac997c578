"""Writes the generated parts of the documents: `python docs/build.py` (or `--check`).

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; PARTS says who makes it.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import cli_reference
from wherry_agent.core.diagram import breaker_diagram, update_diagram
from wherry_controller.core.registry.diagram import stage_diagram
from wherry_controller.core.rollouts.diagram import diagrams
from wherry_protocol import bundle, errors, hardware, manifest, senml
from wherry_protocol.codec import fields
from wherry_protocol.codec.table import MISSING, Nested, columns
from wherry_protocol.messages import desired, enrolment, observed, reported, rpc, trust

DOCS: Final = Path(__file__).parent
MESSAGE_MODULES: Final = (
    trust, desired, hardware, reported, observed, senml, rpc, manifest, bundle, enrolment,
)  # fmt: skip
PART: Final = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def type_text(kind: fields.FieldType) -> str:
    """A field's type and bounds as a reader wants them."""
    match kind:
        case fields.Int(low=low, high=high):
            return "unsigned" if high == fields.UINT_MAX else f"integer {low}..{high}"
        case fields.Real():
            return "number"
        case fields.Bool():
            return "boolean"
        case fields.Text(size_max=size_max):
            return f"text ≤ {size_max}"
        case fields.Octets(size_max=high, size_min=low):
            return f"{high} bytes" if low in (None, high) else f"{low}..{high} bytes"
        case fields.Closed(enum=enum) | fields.Open(enum=enum):
            return enum.__name__
        case fields.Sequence(of=of, count_max=count):
            return f"≤ {count} × {type_text(of)}"
        case fields.Mapping(key=key, of=of, count_max=count):
            return f"≤ {count} × {type_text(key)} → {type_text(of)}"
        case Nested(part=part):
            return part.__name__
    raise RuntimeError(f"no text for {kind}")


def declared(module: ModuleType) -> Iterator[type[Any]]:
    """The messages and parts that a module declares, in order."""
    for value in vars(module).values():
        is_own = inspect.isclass(value) and value.__module__ == module.__name__
        if is_own and hasattr(value, "__wherry_table__"):
            yield value


def message_tables() -> str:
    """One table per message and part, and the numbers of every enum."""
    lines: list[str] = []
    for module in MESSAGE_MODULES:
        for cls in declared(module):
            kind = cls.__wherry_content_type__ or "part"
            summary = (inspect.getdoc(cls) or "").split("\n")[0]
            own = "" if summary.startswith(f"{cls.__name__}(") else f": {summary}"
            lines += [
                f"**{cls.__name__}** (`{kind}`){own}",
                "",
                "| key | field | type |",
                "|---|---|---|",
            ]
            for c in columns(cls):
                mark = "" if c.default is MISSING else " ?"
                lines.append(f"| {c.key} | `{c.attribute}`{mark} | {type_text(c.type)} |")
            lines.append("")
        lines += enum_lines(module)
    return "\n".join(lines)


def enum_lines(module: ModuleType) -> list[str]:
    lines = []
    for value in vars(module).values():
        is_enum = inspect.isclass(value) and issubclass(value, fields.IntEnum)
        if is_enum and value.__module__ == module.__name__:
            numbers = ", ".join(f"{member.value} {member.name.lower()}" for member in value)
            lines += [f"**{value.__name__}**: {numbers}", ""]
    return lines


def code_table() -> str:
    rows = [f"| {code.value} | `{code.name}` |" for code in errors.Code]
    return "\n".join(["| code | name |", "|---|---|", *rows, ""])


def rollout_diagrams() -> str:
    """The tables of the rollout core as Mermaid."""
    return "\n".join(f"```mermaid\n{text}\n```\n" for text in diagrams().values())


def fenced(diagram: Callable[[], str]) -> Callable[[], str]:
    """A Mermaid diagram as a part."""
    return lambda: f"```mermaid\n{diagram()}\n```\n"


PARTS: Final[dict[str, Callable[[], str]]] = {
    "messages": message_tables,
    "codes": code_table,
    "rollouts": rollout_diagrams,
    "stages": fenced(stage_diagram),
    "breaker": fenced(breaker_diagram),
    "update": fenced(update_diagram),
    "cli": cli_reference.reference,
    "exit-statuses": cli_reference.exit_statuses,
}


def built(text: str) -> str:
    """The document with every generated part made anew. KeyError for an unknown part."""
    return PART.sub(lambda m: f"{m[1]}{PARTS[m[2]]()}{m[3]}", text)


def main() -> int:
    stale = []
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text()
        if built(text) != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(built(text))
    if stale and "--check" in sys.argv:
        print(f"stale: {', '.join(stale)}; run `python docs/build.py`")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
