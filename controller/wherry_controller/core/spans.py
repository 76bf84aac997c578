"""Spans of time as people read them."""


def span_text(seconds: float) -> str:
    """How long, in its two largest units.

    >>> span_text(93_784), span_text(59.4)
    ('1 d 2 h', '59 s')
    """
    left = max(0, round(seconds))
    found: list[str] = []
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or found:
            found.append(f"{count} {name}")
    return " ".join(found[:2]).removesuffix(" 0 s") or "0 s"
