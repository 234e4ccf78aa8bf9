"""One epoch of the MLP CVAE: our loop, the usual loop, and the floor. One of the conv CVAE.

    python -m benchmarks.epoch [--rounds 3] [--batch-size 128]

All in one run: they take turns, so that a machine that slows down slows all of them, and the
medians of several rounds are compared. The usual loop is torchvision's data set and a `DataLoader`,
once with `ToTensor` as most tutorials have it, once with the two of torchvision's v2 that
replace it. The floor is the MLP's matrix products alone. Everything computes in float32 but for one
row, in which our loop is told `precision="bfloat16"`; it is left out where the processor has no
instructions for that.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.transforms import v2

from benchmarks import command_line
from benchmarks.machine import CPU, machine
from cvae_utils import data, models, objectives, training

Transform = Callable[[Any], torch.Tensor]  # of one PIL image
TO_TENSOR: Transform = transforms.ToTensor()
TO_IMAGE_TO_DTYPE: Transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def our_epoch(
    model: models.ConditionalVAE, train: data.Split, batch_size: int, precision: str = "float32"
) -> None:
    """Train for one epoch from tensors in memory."""
    training.fit(
        model,
        objectives.negative_elbo,
        train,
        epochs=1,
        batch_size=batch_size,
        precision=precision,
    )


def usual_epoch(train: datasets.MNIST, transform: Transform, batch_size: int) -> None:
    """Train the same model for one epoch, one Python transform a digit."""
    train.transform = transform
    model = models.LabelCVAE()
    optimizer = torch.optim.Adam(model.parameters())
    noise = torch.Generator().manual_seed(0)
    for images, labels in DataLoader(train, batch_size=batch_size, shuffle=True):
        x = torch.bernoulli(images.squeeze(1), generator=noise)
        terms = objectives.negative_elbo(model, x, labels, noise)
        optimizer.zero_grad()
        terms["loss"].mean().backward()
        optimizer.step()


def floor_epoch(count: int, batch_size: int) -> None:
    """Do the matrix products of one epoch: forward, and twice as many backward."""
    linears = [
        layer for layer in models.LabelCVAE().modules() if isinstance(layer, torch.nn.Linear)
    ]
    work = [
        (torch.randn(batch_size, w.in_features), w.weight.detach(),
         torch.randn(batch_size, w.out_features), index > 0)
        for index, w in enumerate(linears)
    ]  # fmt: skip
    for _ in range(round(count / batch_size)):
        for inputs, weight, gradient, needs_input_gradient in work:
            inputs @ weight.T
            gradient.T @ inputs
            if needs_input_gradient:  # nobody asks for the gradient of the image
                gradient @ weight


def as_torchvision(split: data.Split, folder: Path) -> datasets.MNIST:
    """Write a split as MNIST's unpacked files and open them the usual way."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    sizes = np.array([2051, len(split), 28, 28], ">i4")
    images = sizes.tobytes() + split.images.numpy().tobytes()
    labels = np.array([2049, len(split)], ">i4").tobytes() + split.labels.byte().numpy().tobytes()
    for half in ("train", "t10k"):
        (raw / f"{half}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{half}-labels-idx1-ubyte").write_bytes(labels)
    return datasets.MNIST(folder, train=True)


def seconds(work: Callable[[], None]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__, rounds=3)
    parser.add_argument("--batch-size", type=int, default=128, help="examples in a step")
    options = parser.parse_args()
    train, size = data.load().train, options.batch_size
    with TemporaryDirectory() as folder:
        usual = as_torchvision(train, Path(folder))
        contestants: dict[str, Callable[[], None]] = {
            "ours, tensors in memory": lambda: our_epoch(models.LabelCVAE(), train, size),
            "ToTensor + DataLoader": lambda: usual_epoch(usual, TO_TENSOR, size),
            "v2 + DataLoader": lambda: usual_epoch(usual, TO_IMAGE_TO_DTYPE, size),
            "matrix products alone": lambda: floor_epoch(len(train), size),
            "ours, the conv CVAE": lambda: our_epoch(models.ConvCVAE(), train, size),
        }
        if "bfloat16" in training.fast_precisions(CPU):
            contestants["ours, bfloat16"] = lambda: our_epoch(
                models.LabelCVAE(), train, size, "bfloat16"
            )
        for warm_up in (models.LabelCVAE(), models.ConvCVAE()):
            our_epoch(warm_up, train.take(20 * size), size)  # a process's first steps are slow
        rounds = [
            {name: seconds(work) for name, work in contestants.items()}
            for _ in range(options.rounds)
        ]
    print(f"one epoch of {len(train):,} digits, batch {size}, {options.rounds} rounds")
    print(machine())
    ours = statistics.median(row["ours, tensors in memory"] for row in rounds)
    for name in contestants:
        times = [row[name] for row in rounds]
        median = statistics.median(times)
        spread = f"(from {min(times):.2f} to {max(times):.2f})"
        print(f"{name:26} {median:6.2f} s {spread}   {median / ours:5.2f} x ours")


if __name__ == "__main__":
    main()
