"""Which units an operator means: a small language, parsed to a predicate.

    all                              every unit
    press-7   press-7/self           one connection's units, or one unit; lists: press-7, press-9
    label:site=oslo                  a label (label:site asks whether it is there); != too
    class=linux-arm64,cortex-m-sim   one of these hardware classes
    unit=self                        the unit's own name
    version(digits)>=1.2.0           the served version, compared numerically; =none: none
    health=degraded                  as the fleet view says
    env=production                   the label env; production alone (or staging, development,
                                     simulation) means the same: a device of such a name is
                                     production/self
    group:presses                    a named group
    last_seen<1h                     (or seen<1h) s, m, h, d; one never seen: for ever ago
    not X, X and Y, X or Y, (X)      in this order of strength
    25% of X                         only at the start: the stable, nested subset of what X selects

Rules: nothing that is parsed reaches SQL; a fact that is missing satisfies no comparison; every
error names the position.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from wherry_protocol.errors import Code, WherryError
from wherry_protocol.frozen import quick
from wherry_protocol.names import CONNECTION, HARDWARE_CLASS, LABEL, MODEL, SEMVER, UNIT
from wherry_protocol.version import Version

from wherry_controller.core.subset import PERCENT, parse_share, subset

TEXT_MAX: Final = 4_096
DEPTH_MAX: Final = 32
SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
COMPARE: Final[dict[str, Callable[..., bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TOKEN: Final = re.compile(
    r"\s*(?:(?P<percent>\d{1,3}(?:\.\d{1,2})?\s*%)|(?P<compare><=|>=|!=|=|<|>)|(?P<mark>[(),])"
    r"|(?P<word>[A-Za-z0-9_./:-]+))"
)
SEEN: Final = ("last_seen", "seen")
ENV: Final = "env"
ENVIRONMENTS: Final = ("development", "staging", "production", "simulation")
KEYWORDS: Final = ("and", "or", "not", "of", "all")
HEALTH: Final = re.compile(r"[a-z][a-z-]{0,31}")
VALUE: Final = re.compile(r"[A-Za-z0-9_./:-]{1,63}")
DURATION: Final = re.compile(r"(\d{1,9})([smhd])")


@quick
@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one unit. `versions`: model -> version that it serves."""

    connection: str
    unit: str
    hardware_class: str
    labels: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    health: str = ""
    last_seen_s: float | None = None  # Unix time

    @property
    def name(self) -> str:
        """`connection/unit`, the name that rollouts know it by."""
        return f"{self.connection}/{self.unit}"


Predicate = Callable[[Facts, float], bool]  # (facts, now in Unix seconds)


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector. `share_bp` is the `25% of` at its start, in basis points."""

    text: str
    matches: Predicate
    share_bp: int | None = None


def select(
    selector: Selector, fleet: Iterable[Facts], now_s: float, salt: bytes = b""
) -> list[Facts]:
    """The units that the selector means, by name; with a share, that subset of them."""
    chosen = {facts.name: facts for facts in fleet if selector.matches(facts, now_s)}
    names = sorted(chosen)
    if selector.share_bp is not None:
        names = sorted(subset(salt, names, selector.share_bp))
    return [chosen[name] for name in names]


def parse_selector(text: str, groups: Mapping[str, Predicate] | None = None) -> Selector:
    """Parse a selector. Raises WherryError(INVALID) with the position (the first is 1)."""
    if len(text) > TEXT_MAX:
        raise WherryError(
            f"selector has {len(text)} characters, at most {TEXT_MAX} are allowed", Code.INVALID
        )
    parser = _Parser(text, _tokens(text), groups or {})
    share_bp = parser.share()
    matches = parser.any_of(0)
    if parser.peek() is not None:
        parser.fail("and, or, or the end")
    return Selector(text, matches, share_bp)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


def _tokens(text: str) -> list[_Token]:
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        match = TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            _fail(text, at, f"{text[at]!r} means nothing here")
        kind = match.lastgroup or "word"
        found.append(_Token(kind, match[kind], match.start(kind)))
        at = match.end()
    return found


def _fail(text: str, at: int, what: str) -> NoReturn:
    raise WherryError(f"selector {text!r}, position {at + 1}: {what}", Code.INVALID)


@dataclass(slots=True)
class _Parser:
    """Recursive descent: any_of > all_of > negated > atom."""

    text: str
    tokens: list[_Token]
    groups: Mapping[str, Predicate] = field(default_factory=dict)
    at: int = 0

    def peek(self) -> _Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, *texts: str) -> _Token | None:
        """The next token if its text is one of these."""
        token = self.peek()
        if token is None or token.text not in texts:
            return None
        self.at += 1
        return token

    def fail(self, wanted: str) -> NoReturn:
        token = self.peek()
        if token is None:
            _fail(self.text, len(self.text), f"it ends, expected {wanted}")
        if token.kind == "percent":
            _fail(self.text, token.start, "a percentage stands only at the start: 25% of X")
        _fail(self.text, token.start, f"{token.text!r}, expected {wanted}")

    def share(self) -> int | None:
        """A leading `25% of` (`of all` may be left out)."""
        token = self.peek()
        if token is None or not PERCENT.fullmatch(token.text):
            return None
        self.at += 1
        try:
            share_bp = parse_share(token.text)
        except WherryError as error:
            _fail(self.text, token.start, str(error))
        if self.peek() is None:
            self.tokens.append(_Token("word", "all", len(self.text)))
        elif self.take("of") is None:
            self.fail("of")
        return share_bp

    def any_of(self, depth: int) -> Predicate:
        terms = [self.all_of(depth)]
        while self.take("or"):
            terms.append(self.all_of(depth))
        return terms[0] if len(terms) == 1 else lambda f, now: any(t(f, now) for t in terms)

    def all_of(self, depth: int) -> Predicate:
        terms = [self.negated(depth)]
        while self.take("and"):
            terms.append(self.negated(depth))
        return terms[0] if len(terms) == 1 else lambda f, now: all(t(f, now) for t in terms)

    def negated(self, depth: int) -> Predicate:
        if depth > DEPTH_MAX:
            self.fail(f"at most {DEPTH_MAX} levels of not and parentheses")
        if self.take("not"):
            inner = self.negated(depth + 1)
            return lambda f, now: not inner(f, now)
        if self.take("("):
            inside = self.any_of(depth + 1)
            if self.take(")") is None:
                self.fail("a closing parenthesis")
            return inside
        return self.atom()

    def atom(self) -> Predicate:
        token = self.peek()
        if token is None or token.kind != "word" or token.text in ("and", "or", "of"):
            self.fail("a condition")
        if self.take("all"):
            return lambda _facts, _now_s: True
        after = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else None
        if token.text == "version" and after is not None and after.text == "(":
            return self.version()
        if token.text in SEEN and after is not None and after.kind == "compare":
            return self.last_seen()
        if token.text.startswith("group:"):
            return self.group()
        if self.take(*ENVIRONMENTS):
            environment = token.text
            return lambda f, _now: f.labels.get(ENV) == environment
        if token.text.startswith("label:"):
            return self.label()
        if token.text in TEXT_FACTS:
            return self.text_fact(token.text)
        return self.names()

    def compare(self, *allowed: str) -> str:
        token = self.take(*allowed)
        if token is None:
            self.fail(f"one of {' '.join(allowed)}")
        return token.text

    def word(self, pattern: re.Pattern[str], what: str) -> str:
        token = self.peek()
        if token is None or not pattern.fullmatch(token.text):
            self.fail(what)
        self.at += 1
        return token.text

    def words(self, pattern: re.Pattern[str], what: str) -> frozenset[str]:
        """A list separated by commas."""
        found = [self.word(pattern, what)]
        while self.take(","):
            found.append(self.word(pattern, what))
        return frozenset(found)

    def version(self) -> Predicate:
        self.at += 2
        model = self.word(MODEL, "a model's name")
        if self.take(")") is None:
            self.fail("a closing parenthesis")
        sign = self.compare(*COMPARE)
        token = self.peek()
        if token is not None and token.text == "none":
            if sign not in ("=", "!="):
                self.fail("a version (only = and != go with none)")
            self.at += 1
            return lambda f, _now: (_version(f, model) is None) == (sign == "=")
        wanted = Version.parse(self.word(VERSION, "a version like 1.2.3, or none"))
        compare = COMPARE[sign]

        def matches(facts: Facts, _now_s: float) -> bool:
            served = _version(facts, model)
            return served is not None and compare(served, wanted)

        return matches

    def last_seen(self) -> Predicate:
        self.at += 1
        compare = COMPARE[self.compare("<", "<=", ">", ">=")]
        match = DURATION.fullmatch(self.word(DURATION, "a time like 30s, 5m, 1h or 2d"))
        limit_s = float(match[1]) * SECONDS[match[2]] if match else 0.0
        return lambda f, now_s: compare(_age_s(f, now_s), limit_s)

    def label(self) -> Predicate:
        token = self.tokens[self.at]
        name = token.text.removeprefix("label:")
        if not LABEL.fullmatch(name):
            _fail(self.text, token.start + len("label:"), f"{name!r}, expected a label's name")
        self.at += 1
        sign = self.take("=", "!=")
        if sign is None:
            return lambda f, _now: name in f.labels
        wanted = self.words(VALUE, "a label's value")
        if sign.text == "=":
            return lambda f, _now: f.labels.get(name) in wanted
        return lambda f, _now: name in f.labels and f.labels[name] not in wanted

    def group(self) -> Predicate:
        token = self.tokens[self.at]
        name = token.text.removeprefix("group:")
        if name not in self.groups:
            known = ", ".join(sorted(self.groups)) or "none"
            _fail(self.text, token.start, f"there is no group {name!r} here (there are: {known})")
        self.at += 1
        return self.groups[name]

    def text_fact(self, name: str) -> Predicate:
        self.at += 1
        read, pattern = TEXT_FACTS[name]
        is_wanted = self.compare("=", "!=") == "="
        wanted = self.words(pattern, f"a {name}")
        return lambda f, _now: bool(read(f)) and (read(f) in wanted) == is_wanted

    def names(self) -> Predicate:
        wanted = self.words(NAME, "a unit's name, or a condition")
        return lambda f, _now: f.connection in wanted or f.name in wanted


NAME: Final = re.compile(f"(?!(?:{'|'.join(KEYWORDS)})$){CONNECTION.pattern}(?:/{UNIT.pattern})?")
VERSION: Final = re.compile(f"v?{SEMVER.pattern}")
TEXT_FACTS: Final[dict[str, tuple[Callable[[Facts], str], re.Pattern[str]]]] = {
    "class": (lambda facts: facts.hardware_class, HARDWARE_CLASS),
    "unit": (lambda facts: facts.unit, UNIT),
    "env": (lambda facts: facts.labels.get(ENV, ""), VALUE),
    "health": (lambda facts: facts.health, HEALTH),
}


def _version(facts: Facts, model: str) -> Version | None:
    """The served version; None if it serves none, or none that can be read."""
    text = facts.versions.get(model)
    if text is None:
        return None
    try:
        return Version.parse(text)
    except WherryError:
        return None


def _age_s(facts: Facts, now_s: float) -> float:
    return math.inf if facts.last_seen_s is None else now_s - facts.last_seen_s
