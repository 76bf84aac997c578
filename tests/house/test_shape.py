"""The reader of shapes that the tidy test stands on."""

from tests.house.shape import c_functions, python_functions

PYTHON = '''
"""Module text."""

def outer(a, b):
    """Text
    over lines.
    """

    # a comment

    def inner():
        return a

    return (
        inner,
        b,
    )
'''

C = """
#include <x.h>
#define CALL(x) \\
    do { (x); } while (0)

typedef struct { int a; } thing;

static const int table[2] = {
    1, 2,
};

/* a comment with { and
   another line */
static int brace_in_text(char c)
{
    const char *open = "{";   // }

    return c == '{' ? open[0] : 0;
}

WH_MUST_CHECK int second(const thing *t,
                         int (*callback)(int)) {
    if (t->a) {
        return callback(1);
    }
    return 0;
}
"""


def test_docstrings_comments_and_blank_lines_of_python_do_not_count() -> None:
    counted = {function.name: function.code_lines for function in python_functions(PYTHON)}
    assert counted == {"outer": 7, "inner": 2}


def test_c_functions_are_found_among_types_tables_and_macros() -> None:
    counted = {function.name: function.code_lines for function in c_functions(C)}
    assert counted == {"brace_in_text": 5, "second": 7}


def test_a_c_function_is_placed_at_the_line_that_names_it() -> None:
    lines = {function.name: function.line for function in c_functions(C)}
    rows = C.splitlines()
    assert all(name in rows[line - 1] for name, line in lines.items())


def test_a_function_of_71_lines_is_measured_as_71() -> None:
    python = "def f():\n" + "    x = 1\n" * 70
    c = "void f(void)\n{\n" + "    x();\n" * 68 + "}\n"
    assert [f.code_lines for f in python_functions(python)] == [71]
    assert [f.code_lines for f in c_functions(c)] == [71]
