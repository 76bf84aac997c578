"""Reads the shape of source files: how long a function is, where a C function begins and ends."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}


@dataclass(frozen=True)
class Function:
    """One function or method: where it stands and how many lines of code it has.

    A line counts when it holds code: blank lines, comments and docstrings do not.
    """

    name: str
    line: int
    code_lines: int


def python_functions(source: str) -> Iterator[Function]:
    """Every function of a Python file, nested ones too."""
    tree = ast.parse(source)
    code = sorted(_python_code_lines(source) - _docstring_lines(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = node.end_lineno or node.lineno
            count = bisect_right(code, last) - bisect_left(code, node.lineno)
            yield Function(node.name, node.lineno, count)


def _python_code_lines(source: str) -> set[int]:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines


def _docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            lines.update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return lines


def c_functions(source: str) -> Iterator[Function]:
    """Every function of a C file: a block that opens after `name(…)` outside any other block.

    Reads text, not the preprocessor's output: an `#if` that opens a brace in both branches would
    mislead it, and such code is not wanted anyway.
    """
    text = blank_c_comments_and_strings(source)
    depth, opened, name, statement = 0, 0, "", 0
    for position, character in enumerate(text):
        if character == "{":
            if depth == 0:
                opened, name = position, _c_function_name(text[statement:position])
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                if name:
                    yield _c_function(text, name, statement, opened, position)
                statement = position + 1
        elif character == ";" and depth == 0:
            statement = position + 1


def _c_function_name(head: str) -> str:
    """The name that `head` (all between the last statement and an open brace) defines, or ''."""
    head = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*$", "", head, flags=re.MULTILINE).strip()
    match = re.search(r"(\w+)\s*\([^={]*\)\s*$", head, re.DOTALL)
    return match[1] if match and "=" not in head else ""


def _c_function(text: str, name: str, statement: int, opened: int, closed: int) -> Function:
    named = text.rindex(name, statement, opened)
    start = text.rfind("\n", 0, named) + 1
    body = text[start : closed + 1].splitlines()
    return Function(name, text.count("\n", 0, start) + 1, sum(bool(row.strip()) for row in body))


C_LITERAL = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""",
    re.DOTALL | re.VERBOSE,
)


def blank_c_comments_and_strings(source: str) -> str:
    """`source` with comments gone and literals emptied; line breaks stay where they are."""

    def blank(match: re.Match[str]) -> str:
        literal = match[0]
        if literal.startswith("/"):
            return "\n" * literal.count("\n") or " "
        return literal[0] * 2

    return C_LITERAL.sub(blank, source)
