"""Compiles the four liquid networks and holds their integers against float over 10,000 steps.

    python examples/liquid/measure.py            # writes error.png beside this file

Prints per network the program's size and the error of its forecast, in degrees Fahrenheit, and
draws the error of every step: where it neither grows nor jumps, there is no drift. The float side
is ONNX Runtime's (expected.npz, made by train.py), not Wherry's own.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from wherry_native.compiler import CompiledModel, compile_model
from wherry_native.engine import Program

HERE = Path(__file__).parent
NETWORKS = ("cfc-default", "cfc-pure", "cfc-no-gate", "ltc")
STATES = {"state": "state_after"}
MIDDLE, SPREAD = 55.0, 15.0  # degrees Fahrenheit, as train.py has them
CALIBRATION_DAYS = (10, 55, 100, 145, 190, 235, 280, 325)
WIDTH, ROW, MARGIN = 1000, 130, 60
INK, LINE, GRID = (24, 32, 48), (8, 81, 156), (210, 215, 225)


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """The hours to calibrate with (a day from every season, the coldest and the hottest: what is
    colder or hotter is cut off), and the 10,000 to measure on, into the second year; normalized."""
    with np.load(HERE / "series.npz") as data:
        hours = (data["san_francisco"] - MIDDLE) / SPREAD
    days = (*CALIBRATION_DAYS, int(hours.argmin()) // 24, int(hours.argmax()) // 24)
    return (
        np.concatenate([hours[24 * day : 24 * day + 24] for day in days]),
        np.concatenate([hours, hours])[:10_000],
    )


def compiled(name: str) -> CompiledModel:
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.npy"
        np.save(samples, inputs()[0][:, None].astype(np.float32))
        return compile_model(HERE / f"{name}.onnx", calibration=samples, states=STATES)


def forecasts(model: CompiledModel, values: np.ndarray) -> np.ndarray:
    """The program's answers, one per step, its state kept between them; in normalized units."""
    program = Program(model.image)
    x, y = model.inputs[0], model.outputs[0]
    levels = np.clip(np.round(values / x.scale), -32768, 32767).astype("<i2")
    answers = b"".join(program.run(level.tobytes()) for level in levels)
    return np.frombuffer(answers, "<i2") * y.scale


def errors(name: str) -> tuple[CompiledModel, np.ndarray]:
    """The error of every step, in degrees Fahrenheit."""
    model = compiled(name)
    with np.load(HERE / "expected.npz") as expected:
        return model, (forecasts(model, inputs()[1]) - expected[name]) * SPREAD


def drawn(found: dict[str, np.ndarray]) -> Image.Image:
    peak = max(np.abs(error).max() for error in found.values())
    image = Image.new("RGB", (WIDTH + 2 * MARGIN, ROW * len(found) + 2 * MARGIN), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    draw.text((MARGIN, 16), "forecast of the int16 program less float, every step", INK, font)
    for row, (name, error) in enumerate(found.items()):
        middle = MARGIN + row * ROW + ROW // 2
        scale = (ROW // 2 - 14) / peak
        for level in (-peak, 0.0, peak):
            y = middle - level * scale
            draw.line((MARGIN, y, MARGIN + WIDTH, y), GRID)
            draw.text((MARGIN - 6, y), f"{level:+.2f} F", INK, font, "rm")
        for x, part in enumerate(np.array_split(error, WIDTH)):
            top, bottom = middle - part.max() * scale, middle - part.min() * scale
            draw.line((MARGIN + x, top, MARGIN + x, bottom), LINE)
        rms = np.sqrt(np.square(error).mean())
        told = f"{name}: rms {rms:.3f} F, at most {np.abs(error).max():.3f} F"
        draw.text((MARGIN + 4, middle - ROW // 2 + 2), told, INK, font)
    below = MARGIN + ROW * len(found) + 8
    draw.text((MARGIN, below), "step 0", INK, font)
    draw.text((MARGIN + WIDTH, below), "step 10,000", INK, font, "ra")
    return image


def main() -> None:
    found = {}
    for name in NETWORKS:
        model, found[name] = errors(name)
        windows = np.abs(found[name]).reshape(10, -1).mean(axis=1)
        print(
            f"{name}: image {model.report.image_bytes} bytes, arena {model.report.arena_bytes}, "
            f"{model.report.macs} multiply-accumulates; mean error per 1,000 steps "
            + " ".join(f"{w:.3f}" for w in windows)
        )
    drawn(found).save(HERE / "error.png", optimize=True)


if __name__ == "__main__":
    main()
