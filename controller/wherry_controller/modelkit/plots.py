"""Confusion matrices as a picture: float and int8 side by side, drawn with Pillow.

Pillow belongs to the extra `compiler`; import this where a picture was asked for.
"""

import io
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from wherry_controller.modelkit.evaluation import Scores

CELL_MAX: Final = 48
SIDE: Final = 640  # pixels of one matrix at most
MARGIN: Final = 96
HEADLINE: Final = 44
INK: Final = (24, 32, 48)
GRID: Final = (210, 215, 225)
FULL: Final = (8, 81, 156)  # all of a label's samples
EMPTY: Final = (247, 251, 255)


def confusion_png(matrices: Sequence[tuple[str, Scores]], labels: Sequence[str] = ()) -> bytes:
    """One matrix per (title, scores): rows are labels, columns answers, shade is the part of the
    row. Counts stand in the cells where there is room."""
    class_count = len(matrices[0][1].confusion)
    cell = max(2, min(CELL_MAX, SIDE // class_count))
    side = cell * class_count
    width, height = MARGIN + side + 24, HEADLINE + side + MARGIN
    image = Image.new("RGB", (width * len(matrices), height), "white")
    draw = ImageDraw.Draw(image)
    names = list(labels) if len(labels) == class_count else [str(i) for i in range(class_count)]
    for position, (title, scores) in enumerate(matrices):
        _matrix(draw, (position * width + MARGIN, HEADLINE), cell, title, scores, names)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _matrix(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    cell: int,
    title: str,
    scores: Scores,
    names: Sequence[str],
) -> None:
    left, top = corner
    head, small = ImageFont.load_default(16), ImageFont.load_default(max(min(cell // 3, 14), 8))
    text = f"{title}: accuracy {scores.accuracy:.2%}, macro F1 {scores.f1_macro:.4f}"
    draw.text((left, 12), text, INK, head)
    for row, counts in enumerate(scores.confusion):
        for column, count in enumerate(counts):
            part = count / max(sum(counts), 1)
            shade = tuple(round(e + (f - e) * part) for e, f in zip(EMPTY, FULL, strict=True))
            x, y = left + column * cell, top + row * cell
            draw.rectangle((x, y, x + cell, y + cell), shade, GRID if cell > 4 else None)
            if count and cell >= 24:
                ink = "white" if part > 0.5 else INK
                draw.text((x + cell / 2, y + cell / 2), str(count), ink, small, "mm")
    if cell >= 12:
        for index, name in enumerate(names):
            middle = index * cell + cell / 2
            draw.text((left - 8, top + middle), name[:12], INK, small, "rm")
            draw.text((left + middle, top + len(names) * cell + 12), name[:6], INK, small, "mm")
    draw.text((left, top + len(names) * cell + 32), "rows: labels, columns: answers", INK, small)
