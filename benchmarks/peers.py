"""One epoch of the same MLP CVAE: our loop against libraries that people use for it.

    python -m benchmarks.peers [--rounds 3] [--batch-size 128] [--chart docs/peers.png]

Every contestant trains the very networks of `models.LabelCVAE` on the same binarized digits, all
60,000 where they are at hand, in one process, taking turns; medians are compared. The peers are fed
as kindly as they can be: from tensors in memory, through a `DataLoader` that binarizes a whole
batch at once. Pyro uses its `SVI` with `Trace_ELBO`, Lightning its `Trainer`, both Adam at 1e-3.
Beside the seconds stands the -ELBO on the test digits after that epoch, so that nobody wins by
learning less. They come with the `bench` extra, which `make bench` installs.
"""

from __future__ import annotations

import logging
import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning
import matplotlib.pyplot as plt
import pyro
import torch
from pyro import distributions
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks import command_line
from benchmarks.epoch import floor_epoch, our_epoch, seconds
from benchmarks.machine import CPU, machine
from cvae_utils import data, evaluation, models, objectives, training

Contestant = Callable[[models.LabelCVAE, data.Split, int], None]


def loader(train: data.Split, batch_size: int) -> DataLoader[int]:
    """Feed batches that are made as a whole: no image is touched on its own."""

    def batch(rows: list[int]) -> tuple[Tensor, Tensor]:
        return data.binarize(train.images[rows]), train.labels[rows]

    return DataLoader(range(len(train)), batch_size, shuffle=True, collate_fn=batch)  # type: ignore[arg-type]


def with_pyro(model: models.LabelCVAE, train: data.Split, batch_size: int) -> None:
    """Train the networks by stochastic variational inference (Bingham et al. 2019)."""

    def generation(x: Tensor, labels: Tensor) -> None:
        pyro.module("generation", model.generation_net)
        with pyro.plate("images", len(x)):
            start = torch.zeros(len(x), model.latent_dim)
            z = pyro.sample("z", distributions.Normal(start, 1.0).to_event(1))
            logits = model.generation_net(z, model.condition(labels))
            pyro.sample("x", distributions.Bernoulli(logits=logits).to_event(2), obs=x)

    def recognition(x: Tensor, labels: Tensor) -> None:
        pyro.module("recognition", model.recognition_net)
        with pyro.plate("images", len(x)):
            q = model.recognition_net(x, model.condition(labels))
            pyro.sample("z", distributions.Normal(q.mu, q.std).to_event(1))

    pyro.clear_param_store()
    pyro.enable_validation(False)
    inference = SVI(generation, recognition, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    for x, labels in loader(train, batch_size):
        inference.step(x, labels)


class Lit(lightning.LightningModule):
    """The model and its ELBO, as Lightning wants them."""

    def __init__(self, model: models.LabelCVAE) -> None:
        super().__init__()
        self.model = model
        self.noise = torch.Generator().manual_seed(0)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        return objectives.negative_elbo(self.model, *batch, self.noise)["loss"].mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def with_lightning(model: models.LabelCVAE, train: data.Split, batch_size: int) -> None:
    """Train for one epoch, with everything switched off that is not training."""
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Lit(model), loader(train, batch_size))


CONTESTANTS: dict[str, Contestant] = {
    "ours": our_epoch,
    f"Lightning {lightning.__version__}": with_lightning,
    f"Pyro {pyro.__version__}": with_pyro,
}
if "bfloat16" in training.fast_precisions(CPU):
    CONTESTANTS["ours, bfloat16"] = lambda model, train, size: our_epoch(
        model, train, size, "bfloat16"
    )


def measured(
    train: data.Split, test: data.Split, batch_size: int, rounds: int
) -> Iterator[tuple[str, float, float]]:
    """Yield contestant, median seconds, -ELBO after its last epoch."""
    models_trained: dict[str, models.LabelCVAE] = {}
    times: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    floors = []
    for _ in range(rounds):
        for name, contestant in CONTESTANTS.items():
            torch.manual_seed(0)
            model = models_trained[name] = models.LabelCVAE()
            took = seconds(lambda run=contestant, net=model: run(net, train, batch_size))  # type: ignore[misc]
            times[name].append(took)
        floors.append(seconds(lambda: floor_epoch(len(train), batch_size)))
    for name, model in models_trained.items():
        yield name, statistics.median(times[name]), evaluation.elbo(model, test).negative_elbo
    yield "matrix products alone", statistics.median(floors), float("nan")


def chart(rows: list[tuple[str, float, float]], digits: int, path: Path) -> None:
    """Draw the seconds as bars."""
    figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
    names, times, _ = zip(*reversed(rows), strict=True)
    axes.bar_label(axes.barh(names, times, color="#0072B2"), fmt="%.1f s", padding=3)
    axes.set(xlabel=f"seconds for one epoch of {digits:,} digits", xlim=(0, 1.15 * max(times)))
    figure.savefig(path, dpi=90)


def main() -> None:
    """Measure, print and draw."""
    parser = command_line(__doc__, rounds=3)
    parser.add_argument("--batch-size", type=int, default=128, help="examples in a step")
    parser.add_argument(
        "--chart", type=Path, default=Path("build/peers.png"), help="where the chart goes"
    )
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    mnist = data.load()
    few = mnist.train.take(20 * options.batch_size)
    for contestant in CONTESTANTS.values():  # a process's first steps are slow
        contestant(models.LabelCVAE(), few, options.batch_size)
    rows = list(measured(mnist.train, mnist.test, options.batch_size, options.rounds))
    print(f"one epoch of {len(mnist.train):,} digits, batch {options.batch_size}, "
          f"{options.rounds} rounds; {machine()}")  # fmt: skip
    ours = rows[0][1]
    for name, took, cost in rows:
        learned = "" if cost != cost else f"   -ELBO {cost:6.1f} nats"
        print(f"{name:24} {took:6.2f} s   {took / ours:5.2f} x ours{learned}")
    options.chart.parent.mkdir(parents=True, exist_ok=True)
    chart(rows, len(mnist.train), options.chart)


if __name__ == "__main__":
    main()
