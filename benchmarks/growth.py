"""How the training of the MLP CVAE grows with batch size, width and data.

    python -m benchmarks.growth [--rounds 3] [--chart docs/growth.png]

One thing is varied at a time, the others stay at 128 examples, 512 units and 12,800 digits, or as
many as there are. Each point is a process of its own, so that its peak memory is its own; it trains
one epoch for warmth and then `--rounds` more, of which the median counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from benchmarks import command_line
from benchmarks.machine import machine
from cvae_utils import data, models, objectives, training


@dataclass(frozen=True)
class Setting:
    """What is varied."""

    batch_size: int = 128
    width: int = 512
    digits: int = 12_800


VARIED = {
    "batch_size": (32, 64, 128, 256, 512, 1024),
    "width": (64, 128, 256, 512, 1024),
    "digits": (3_200, 6_400, 12_800, 25_600, 51_200),
}
LABELS = {"batch_size": "examples in a batch", "width": "hidden units", "digits": "digits"}


@dataclass(frozen=True)
class Point:
    """What was measured.

    Attributes:
        seconds: for one epoch, the median.
        megabytes: the process's memory at its peak, Python and torch included.
    """

    seconds: float
    megabytes: float


def here(setting: Setting, rounds: int) -> Point:
    """Measure in this process."""
    torch.manual_seed(0)
    history = training.fit(
        models.LabelCVAE(width=setting.width),
        objectives.negative_elbo,
        data.load().train.take(setting.digits),
        epochs=1 + rounds,
        batch_size=setting.batch_size,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # Linux counts in kB
    return Point(statistics.median(history.curve("seconds")[1:]), peak)


def elsewhere(setting: Setting, rounds: int) -> Point:
    """Measure in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.growth", "--rounds", str(rounds)]
    words += ["--one", json.dumps(asdict(setting))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603 - our own
    return Point(**json.loads(done.stdout.splitlines()[-1]))


def chart(measured: dict[str, dict[int, Point]], path: Path) -> None:
    """Draw the seconds, a panel for each thing that was varied."""
    figure, axes = plt.subplots(1, len(VARIED), figsize=(9, 2.6), sharey=True, layout="constrained")
    for panel, (name, points) in zip(axes, measured.items(), strict=True):
        values = list(points)
        panel.loglog(values, [points[value].seconds for value in values], "o-", color="#0072B2")
        panel.set(xlabel=LABELS[name], ylim=(0.1, 10))
        panel.set_xticks(values, [f"{value:,}" for value in values], rotation=30)
        panel.set_xticks([], minor=True)
        panel.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("seconds for one epoch")
    figure.savefig(path, dpi=90)


def main() -> None:
    """Measure, print and draw."""
    parser = command_line(__doc__, rounds=3)
    parser.add_argument(
        "--chart", type=Path, default=Path("build/growth.png"), help="where the chart goes"
    )
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asdict(here(Setting(**options.one), options.rounds))))
        return
    mnist = data.load()
    print(f"one epoch of the MLP CVAE; {options.rounds} rounds; {mnist}; {machine()}")
    start = Setting(digits=min(Setting.digits, len(mnist.train)))
    measured: dict[str, dict[int, Point]] = {}
    for name, values in VARIED.items():
        measured[name] = {}
        for value in values:
            if name == "digits" and value > len(mnist.train):
                continue
            point = elsewhere(replace(start, **{name: value}), options.rounds)
            measured[name][value] = point
            print(f"{name:12} {value:7,} {point.seconds:7.2f} s {point.megabytes:7,.0f} MB peak")
    options.chart.parent.mkdir(parents=True, exist_ok=True)
    chart(measured, options.chart)


if __name__ == "__main__":
    main()
