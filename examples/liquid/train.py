"""Trains the four liquid networks of this folder: temperature six hours ahead, hour by hour.

    pip install -r examples/liquid/requirements.txt
    python examples/liquid/train.py

The series is the hourly temperature of San Francisco for one year, from the package vega_datasets
(NOAA's climate normals, public domain). Each network is one step: what is measured now and the
state before it in, the forecast and the state after it out. Cells are those of `ncps`, CfC in its
three modes and LTC.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from ncps.torch.cfc_cell import CfCCell
from ncps.torch.ltc_cell import LTCCell
from ncps.wirings import FullyConnected
from torch import nn
from vega_datasets import data

HERE = Path(__file__).parent
UNITS, BACKBONE = 12, 24
AHEAD = 6  # hours
WINDOW, BATCH, STEPS = 48, 64, 400
MIDDLE, SPREAD = 55.0, 15.0  # degrees Fahrenheit


class Step(nn.Module):
    """One hour: the cell, then a straight line from its state to the forecast."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(UNITS, 1)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _, after = self.cell(x, state, 1.0)
        return self.head(after), after


def cells() -> dict[str, nn.Module]:
    made: dict[str, nn.Module] = {
        f"cfc-{mode.replace('_', '-')}": CfCCell(1, UNITS, mode=mode, backbone_units=BACKBONE)
        for mode in ("default", "pure", "no_gate")
    }
    wiring = FullyConnected(UNITS, UNITS)
    wiring.build(1)
    return made | {"ltc": LTCCell(wiring)}


def series(table: object) -> np.ndarray:
    return ((table["temp"].to_numpy() - MIDDLE) / SPREAD).astype(np.float32)  # type: ignore[index]


def trained(step: Step, values: np.ndarray) -> Step:
    optimizer = torch.optim.Adam(step.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    random = np.random.default_rng(0)
    for round_number in range(STEPS):
        starts = random.integers(0, len(values) - WINDOW - AHEAD, BATCH)
        windows = torch.tensor(np.stack([values[s : s + WINDOW + AHEAD] for s in starts]))
        state, loss = torch.zeros(BATCH, UNITS), torch.zeros(())
        for t in range(WINDOW):
            y, state = step(windows[:, t : t + 1], state)
            if t >= 12:  # until then the state knows little
                loss = loss + nn.functional.mse_loss(y[:, 0], windows[:, t + AHEAD])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(step.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if isinstance(step.cell, LTCCell):
            step.cell.apply_weight_constraints()
        if round_number % 100 == 99:
            print(f"  {round_number + 1}: {loss.item() / (WINDOW - 12):.4f}", flush=True)
    return step.eval()


def expected(name: str, values: np.ndarray) -> np.ndarray:
    """The forecast of the exported file after every step, by ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(HERE / f"{name}.onnx"))
    state, answers = np.zeros((1, UNITS), np.float32), []
    for value in values:
        feeds = {"temperature": value.reshape(1, 1), "state": state}
        y, state = session.run(None, feeds)
        answers.append(float(y[0, 0]))
    return np.array(answers, np.float32)


def main() -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)
    here = series(data.sf_temps())
    degrees = (here * SPREAD + MIDDLE).astype(np.float32)
    np.savez_compressed(HERE / "series.npz", san_francisco=degrees)
    for name, cell in cells().items():
        print(name, flush=True)
        step = trained(Step(cell), here)
        torch.onnx.export(
            step, (torch.zeros(1, 1), torch.zeros(1, UNITS)), HERE / f"{name}.onnx",
            input_names=["temperature", "state"], output_names=["forecast", "state_after"],
            external_data=False, dynamo=True,
        )  # fmt: skip
    steps = np.concatenate([here, here])[:10_000]
    np.savez_compressed(HERE / "expected.npz", **{name: expected(name, steps) for name in cells()})


if __name__ == "__main__":
    main()
