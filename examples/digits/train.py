"""Train the digit models of the example and export them as float ONNX.

Run it in an environment of its own (README.md says how); Wherry itself needs none of this:

    python examples/digits/train.py            # writes beside this file

Everything follows from `SEED`: the split, the weights, the order of the batches. On one machine
with one version of PyTorch the files come out byte for byte the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

HERE: Final = Path(__file__).parent
SEED: Final = 2026
PIXEL_MAX: Final = 16.0  # scikit-learn's digits have pixels of 0..16; models take 0..1
SPLIT: Final = {"train": 1200, "validation": 297, "test": 300}
CALIBRATION_COUNT: Final = 128
OPSET: Final = 17

Layers = Callable[[], nn.Sequential]


def block(channels_in: int, channels_out: int) -> list[nn.Module]:
    """A 3x3 convolution with batch norm, so that the compiler has something to fold."""
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]


def small() -> nn.Sequential:
    """About 24,000 multiply-accumulates."""
    head = [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 2 * 2, 10), nn.Softmax(dim=1)]
    return nn.Sequential(*block(1, 8), nn.MaxPool2d(2), *block(8, 16), *head)


def large() -> nn.Sequential:
    """More than 200 times the multiply-accumulates of `small`: right more often, really slower."""
    head = [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 2 * 2, 10), nn.Softmax(dim=1)]
    body = [*block(1, 64), *block(64, 64), *block(64, 64), nn.MaxPool2d(2), *block(64, 64)]
    return nn.Sequential(*body, *head)


@dataclass(frozen=True)
class Recipe:
    version: str
    change: str
    layers: Layers
    seed: int
    train_count: int
    epoch_count: int
    is_shifted: bool  # also learn digits that sit one pixel off


RECIPES: Final = (
    Recipe("1.0.0", "first model", small, 1, 300, 30, False),
    Recipe("1.1.0", "also reads digits that sit one pixel off", small, 2, 1200, 60, True),
    Recipe("1.1.1", "the same, trained from another seed", small, 3, 1200, 60, True),
    Recipe("1.2.0", "a larger network, many times slower", large, 4, 1200, 40, True),
)


def split_digits() -> dict[str, np.ndarray]:
    """`PART_images` uint8 [n, 8, 8] and `PART_labels` uint8 [n] for every part of `SPLIT`."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    parts: dict[str, np.ndarray] = {}
    start = 0
    for name, count in SPLIT.items():
        chosen = order[start : start + count]
        parts[f"{name}_images"] = digits.images[chosen].astype(np.uint8)
        parts[f"{name}_labels"] = digits.target[chosen].astype(np.uint8)
        start += count
    return parts


def model_input(images: np.ndarray) -> Tensor:
    """uint8 [n, 8, 8] of 0..16 to float32 [n, 1, 8, 8] of 0..1."""
    return torch.from_numpy(images.astype(np.float32)[:, None] / PIXEL_MAX)


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """[n, 1, 8, 8] moved by -1, 0 or 1 pixels; what enters at the border is blank."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    return padded[:, :, 1 - down : 9 - down, 1 - right : 9 - right]


def train(recipe: Recipe, parts: dict[str, np.ndarray]) -> nn.Sequential:
    torch.manual_seed(SEED + recipe.seed)
    images = model_input(parts["train_images"][: recipe.train_count])
    labels = torch.from_numpy(parts["train_labels"][: recipe.train_count].astype(np.int64))
    model = recipe.layers()
    logits = model[:-1]  # the loss takes what goes into the softmax
    optimizer = torch.optim.AdamW(logits.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epoch_count)
    model.train()
    for _ in range(recipe.epoch_count):
        for batch in torch.randperm(len(images)).split(50):
            down, right = torch.randint(-1, 2, (2,)).tolist() if recipe.is_shifted else (0, 0)
            loss = nn.functional.cross_entropy(
                logits(shift(images[batch], down, right)), labels[batch], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return model.eval()


def export(model: nn.Sequential, path: Path) -> None:
    """Float ONNX, batch 1, batch norm left as a node of its own."""
    torch.onnx.export(
        model,
        (torch.zeros(1, 1, 8, 8),),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        input_names=["image"],
        output_names=["probabilities"],
    )
    onnx.checker.check_model(onnx.load(path), full_check=True)


def accuracy(path: Path, images: Tensor, labels: np.ndarray) -> float:
    """Share of right answers of the exported file, run by ONNX Runtime, one image at a time."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers = [session.run(None, {"image": image[None].numpy()})[0].argmax() for image in images]
    return float(np.mean(np.array(answers) == labels))


def multiply_accumulates(model: nn.Sequential) -> int:
    """Of one inference: convolutions and the linear layer."""
    total = 0
    activation = torch.zeros(1, 1, 8, 8)
    for layer in model:
        activation = layer(activation)
        if isinstance(layer, nn.Conv2d):
            total += layer.weight.numel() * activation.shape[2] * activation.shape[3]
        elif isinstance(layer, nn.Linear):
            total += layer.weight.numel()
    return total


def describe(
    recipe: Recipe, model: nn.Sequential, parts: dict[str, np.ndarray]
) -> dict[str, object]:
    """The row of models.json: what the model is and what its ONNX file scores on the test part."""
    path = HERE / f"digits-{recipe.version}.onnx"
    images, labels = model_input(parts["test_images"]), parts["test_labels"]
    shifted = [shift(images, down, right) for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    recipe_row = {k: v for k, v in asdict(recipe).items() if k != "layers"}
    return recipe_row | {
        "file": path.name,
        "multiply_accumulates": multiply_accumulates(model),
        "test_accuracy": round(accuracy(path, images, labels), 4),
        "test_accuracy_shifted": round(
            accuracy(path, torch.cat(shifted), np.tile(labels, len(shifted))), 4
        ),
    }


def main() -> int:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    parts = split_digits()
    np.savez_compressed(HERE / "digits.npz", **parts)
    calibration = model_input(parts["train_images"][:CALIBRATION_COUNT]).numpy()
    np.savez_compressed(HERE / "calibration.npz", image=calibration)
    rows = []
    for recipe in RECIPES:
        model = train(recipe, parts)
        export(model, HERE / f"digits-{recipe.version}.onnx")
        rows.append(describe(recipe, model, parts))
        print(json.dumps(rows[-1]))
    (HERE / "models.json").write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
