"""One explicit training loop for every model; callbacks do what is not training."""

from __future__ import annotations

import contextlib
import math
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from cvae_utils.checks import (
    check_at_least,
    check_choice,
    check_floats,
    check_function,
    check_is,
    check_positive,
    check_seed,
)
from cvae_utils.data import Split, batches, binarize
from cvae_utils.distributed import crew
from cvae_utils.graphs import Work, check_recordable, recorded
from cvae_utils.interrupts import held_back
from cvae_utils.models.base import check_same_classes
from cvae_utils.snapshots import Parts, Snapshot

Model = TypeVar("Model", bound=nn.Module)
# (model, x, labels, generator) -> per-example terms (B,), one of them named "loss"
Objective = Callable[[Model, Tensor, Tensor, torch.Generator], dict[str, Tensor]]
# uint8 images and a generator -> what the model sees, float32 of the same shape
Preparation = Callable[[Tensor, torch.Generator], Tensor]

PRECISIONS = ("float32", "bfloat16")
SOFTWARE = ("DEFAULT", "AVX2")  # what torch calls x86-64 processors without AVX-512


def fast_precisions(device: torch.device) -> tuple[str, ...]:
    """Return the precisions that are worth asking this device for.

    On an x86-64 processor without AVX-512 torch multiplies bfloat16 in software, many times slower
    than float32. No other device is known to be such a one.
    """
    check_is("device", device, torch.device)
    x86 = platform.machine() in ("x86_64", "AMD64")
    if device.type == "cpu" and x86 and torch.backends.cpu.get_cpu_capability() in SOFTWARE:
        return ("float32",)
    return PRECISIONS


@dataclass
class History:
    """What happened: one row per finished epoch.

    Attributes:
        epochs: for each epoch the mean of every term of the objective over the examples, and
            `seconds`.
        planned: how many epochs were asked for.
        interrupted: whether the run was stopped by hand before it was through.
        settings: what `fit` was told, as far as it decides the weights.
        snapshot: the run at the end of its last good epoch, or at its start.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    planned: int = 0
    interrupted: bool = False
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    snapshot: Snapshot | None = field(default=None, repr=False, compare=False)

    def curve(self, term: str) -> list[float]:
        """Return one term's mean, epoch by epoch.

        Raises:
            ValueError: no epoch has such a term.
        """
        if self.epochs:
            check_choice("term", term, tuple(self.epochs[0]))
        return [epoch[term] for epoch in self.epochs]


class TrainingError(RuntimeError):
    """A run cannot go on as it was told to; the message says why, and what to change.

    Attributes:
        history: what was reached; `fit` goes on from it, with the settings that it was told.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


class Callback:
    """Sees the run go by; each method may be left out."""

    def on_start(self, epochs: int, steps_per_epoch: int) -> None:
        """Called once, before the first step, with the number of epochs that are to come."""

    def on_step(self) -> None:
        """Called after every step of the optimizer.

        Not the moment to measure the model, which must be left in training mode: see `on_epoch`.
        """

    def on_epoch(self, history: History) -> None:
        """Called after every epoch, its row being the last of `history.epochs`.

        The moment to measure the model: it goes on in training mode, whatever it was left in.
        """

    def on_end(self, history: History) -> None:
        """Called once if `on_start` went well, also after an interrupt or an error."""


class Terms(nn.Module):
    """A model's objective as a module, which is what several processes share gradients of."""

    def __init__(self, model: Model, objective: Objective[Model]) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x: Tensor, labels: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """Return the objective's terms, each (B,)."""
        terms = self.objective(self.model, x, labels, noise)
        check_is("objective(...)", terms, dict, "a dict of terms, each (B,), with a 'loss'")
        check_is("objective(...)['loss']", terms.get("loss"), Tensor)
        if "seconds" in terms:
            raise ValueError(
                "objective(...) must name no term 'seconds', got one: a row has its own"
            )
        for name, values in terms.items():
            check_floats(f"objective(...)[{name!r}]", values, len(x))
        return terms


class ProgressBar(Callback):
    """A bar over all steps with the last epoch's means, as text.

    Text is shown by every front end, and a saved notebook keeps its last state; tqdm's widget bar
    would be saved as the empty bar that it began with.
    """

    def on_start(self, epochs: int, steps_per_epoch: int) -> None:
        """Show the empty bar."""
        steps = epochs * steps_per_epoch
        form = "{l_bar}{bar:12}{r_bar}"  # a short bar: the means are what one reads
        self._bar = tqdm(
            total=steps, unit="step", mininterval=0.5, file=sys.stdout, bar_format=form
        )

    def on_step(self) -> None:
        """Move on by one."""
        self._bar.update()

    def on_epoch(self, history: History) -> None:
        """Show the epoch's means beside the bar."""
        row = history.epochs[-1]
        means = ", ".join(f"{term} {value:.2f}" for term, value in row.items() if term != "seconds")
        self._bar.set_postfix_str(f"epoch {len(history.epochs)}/{history.planned}: {means}")

    def on_end(self, history: History) -> None:
        """Close the bar."""
        self._bar.close()


def pick_device(name: torch.device | str = "auto") -> torch.device:
    """Return the device of that name; `"auto"` is the GPU if there is one, else the CPU.

    Raises:
        TypeError: neither a name nor a device.
        ValueError: no device has that name, or this PyTorch cannot use it.
    """
    check_is("device", name, (str, torch.device), "a name or a torch.device")
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", torch.cuda.current_device())
    try:
        device = torch.empty(0, device=name).device
    # What torch says where it was built without such devices, or where the machine has none.
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"device must be one to compute on, got {name!r}: {error}") from error
    if device.type == "meta":
        raise ValueError(f"device must be one to compute on, got {name!r}: it holds no values")
    return device


def fit(
    model: Model,
    objective: Objective[Model],
    train: Split,
    *,
    epochs: int,
    batch_size: int = 128,
    max_learning_rate: float = 2e-3,
    seed: int = 0,
    prepare: Preparation = binarize,
    precision: str = "float32",
    momentum: float | None = None,
    cuda_graph: bool = False,
    callbacks: Sequence[Callback] = (),
    history: History | None = None,
) -> History:
    """Train `model` in place with Adam and a one-cycle learning rate, on the model's device.

    The learning rate rises to its maximum and falls to nearly zero, and Adam's first decay rate
    moves the other way (Smith & Topin 2018): a short run then ends as settled as a long one.

    An interrupt (the stop button, Ctrl-C) ends the run after the step; model and history are kept,
    and `fit` with the same arguments and this history goes on from the last finished epoch, as if
    nothing had happened: on a CPU the weights end the same to the bit. Torch's own random numbers
    are those of the run meanwhile, and the caller's again when it is over.

    Under torchrun each process takes its share of every batch, and the gradients are averaged;
    examples that would leave the shares unequal, fewer than there are processes, are left out.

    Args:
        model: what is trained.
        objective: per-example terms; the mean of `loss` over the batch is minimized.
        train: uint8 images and labels, moved to the model's device once, as a whole.
        epochs: passes over `train`.
        batch_size: examples in a step, of all processes together.
        max_learning_rate: the top of the cycle.
        seed: decides the order of the examples, the binarization, the noise and what layers such as
            dropout draw.
        prepare: makes floating-point images of a uint8 batch; they take on the model's precision.
        precision: `"bfloat16"` multiplies matrices and convolves in 16 bits (Kalamkar et al.
            2019), which is faster where the processor has instructions for it, and many times
            slower where it has none: then a warning says so. Weights, losses and the optimizer
            stay in float32.
        momentum: Adam's first decay rate, held at this value; None moves it with the learning
            rate. Adversarial training wants little of it (Radford et al. 2016).
        cuda_graph: a GPU records a step once and replays it (`graphs.py` says how). The random
            numbers and the arithmetic are the same; only who asks for them is not.
        callbacks: see the run go by.
        history: of an earlier run, to go on with. It is filled in place: what it holds is there
            also when the run ends in an error. `model`, `objective`, `train` and `prepare` must be
            those of before: but for the number of examples nothing compares them.

    Returns:
        The history, one row per finished epoch.

    Raises:
        TypeError: an argument of another kind; the message names it.
        ValueError: an argument out of range, or other than the history's; the message names it. Or
            the call is within `torch.no_grad()`.
        TrainingError: the loss or a weight became infinite or NaN, and the model is back where it
            was after the last good epoch; or a step does not fit into the memory.
    """
    check_is("model", model, nn.Module)
    check_function("objective", objective, "(model, x, labels, generator)")
    check_is("train", train, Split)
    check_same_classes("train", train.num_classes, model)
    check_function("prepare", prepare, "(images, generator)")
    check_is("callbacks", callbacks, Sequence, "a sequence of Callback objects")
    for callback in callbacks:
        check_is("callbacks", callback, Callback, "a sequence of Callback objects")
    check_is("history", history, (History, NoneType), "a History or None")
    epochs = check_at_least("epochs", epochs, 1)
    batch_size = check_at_least("batch_size", batch_size, 1)
    check_positive("max_learning_rate", max_learning_rate)
    seed = check_seed("seed", seed)
    check_choice("precision", precision, PRECISIONS)
    check_is("momentum", momentum, (int, float, NoneType), "a number or None")
    if momentum is not None and not 0 <= momentum < 1:
        raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}")
    check_is("cuda_graph", cuda_graph, bool)
    if not torch.is_grad_enabled():
        raise ValueError("fit must be called where gradients are computed, not in torch.no_grad()")
    learned = [weights for weights in model.parameters() if weights.requires_grad]
    if not learned:
        raise ValueError(f"model must have weights to train, got a {type(model).__name__} without")
    team = crew()
    if batch_size % team.size:
        raise ValueError(
            f"batch_size must be a multiple of the {team.size} processes, got {batch_size}"
        )
    device = next(model.parameters()).device
    if precision not in fast_precisions(device):
        warnings.warn(
            f"precision={precision!r} takes many times as long as 'float32' on this processor, "
            "which has no instructions for it",
            stacklevel=2,
        )
    if cuda_graph:
        check_recordable("cuda_graph", device, team.size)
    train = train.take(len(train) - len(train) % team.size).to(device)
    _check_last_batch(model, len(train), batch_size, team.size)
    order = noise = torch.Generator(device).manual_seed(seed)
    step: nn.Module = Terms(model, objective)
    if team.size > 1:  # all go through the data in one order, each draws noise of its own
        noise = torch.Generator(device).manual_seed(seed + 1_000_003 * (team.rank + 1))
        step = DistributedDataParallel(step)
    betas = (0.9 if momentum is None else float(momentum), 0.999)  # torch takes no 0 for 0.0
    optimizer = torch.optim.Adam(model.parameters(), betas=betas, fused=True)
    steps_per_epoch = math.ceil(len(train) / batch_size)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_learning_rate,
        total_steps=epochs * steps_per_epoch,
        cycle_momentum=momentum is None,
    )
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    generators = {"order": order, "noise": noise, "layers": _drawn_by_layers(device)}
    parts = Parts(model, optimizer, scheduler, generators)
    settings = {
        "epochs": epochs, "batch_size": batch_size, "max_learning_rate": max_learning_rate,
        "seed": seed, "precision": precision, "momentum": momentum, "examples": len(train),
    }  # fmt: skip

    def gradients(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Leave the gradients of the mean loss in the weights; return the sum of each term."""
        x = prepare(images, noise)
        check_is("prepare(...)", x, Tensor)
        if x.is_floating_point():
            x = x.to(learned[0].dtype)
        with autocast:
            terms = step(x, labels, noise)
        optimizer.zero_grad()
        # Named: an objective may need the slope at its images, which is not wanted here again.
        terms["loss"].mean().backward(inputs=learned)
        return {name: _sum(values.detach()) for name, values in terms.items()}

    with (
        held_back() as let_interrupts_through,
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        contextlib.ExitStack() as ends,  # each is called, whatever another one raises
    ):
        # A stream of its own: dropout must not repeat the draws of the binarization.
        generators["layers"].manual_seed(noise.initial_seed() + 1)
        history = _begin(history or History(), settings, parts)
        try:
            for callback in callbacks:
                callback.on_start(epochs - len(history.epochs), steps_per_epoch)
                ends.callback(callback.on_end, history)
            model.train()
            work: Work = gradients
            if cuda_graph:
                first = train.take(batch_size)
                with _memory_watched(batch_size, history):
                    work = recorded(gradients, first.images, first.labels, parts)
            for epoch in range(len(history.epochs), epochs):
                start = time.perf_counter()
                sums: dict[str, Tensor] = {}
                for images, labels in batches(train, batch_size, order):
                    with _memory_watched(batch_size, history):
                        terms = work(team.share(images), team.share(labels))
                        optimizer.step()
                    scheduler.step()
                    for name, value in terms.items():  # summed on the device, read once an epoch
                        sums[name] = sums.get(name, 0) + value
                    for callback in callbacks:
                        callback.on_step()
                    let_interrupts_through()
                row = {name: team.total(s).item() / len(train) for name, s in sums.items()}
                _check_finite(row["loss"], parts, history)
                history.epochs.append(row | {"seconds": time.perf_counter() - start})
                history.snapshot = parts.take(epoch + 1)
                for callback in callbacks:
                    callback.on_epoch(history)
                model.train()  # a callback may have put it to rest
                let_interrupts_through()
        except KeyboardInterrupt:
            history.interrupted = True
            if team.leads:
                done = f"{len(history.epochs)} of {epochs} epochs"
                print(f"Interrupted after {done}; the model is kept.")
        finally:
            model.eval()
    return history


def _drawn_by_layers(device: torch.device) -> torch.Generator:
    """Return torch's own source of random numbers there, from which layers such as dropout draw."""
    if device.type != "cuda":
        return torch.default_generator
    return torch.cuda.default_generators[device.index]


def _sum(values: Tensor) -> Tensor:
    """Return a sum in 32 bits or more: in 16 an epoch's sums would overflow, or stand still."""
    return values.sum(dtype=torch.promote_types(values.dtype, torch.float32))


def _begin(history: History, settings: dict[str, Any], parts: Parts) -> History:
    """Bring the run to where the history left it, or the history to the run's start."""
    if history.snapshot is None:
        history.settings, history.snapshot = settings, parts.take(0)
    for name, value in settings.items():
        if history.settings.get(name) != value:
            raise ValueError(
                f"{name} must be {history.settings.get(name)!r} as in the history that this run "
                f"goes on with, got {value!r}"
            )
    parts.restore(history.snapshot)
    del history.epochs[history.snapshot.epoch :]  # an interrupt may fall between row and snapshot
    history.planned, history.interrupted = settings["epochs"], False
    return history


def _check_last_batch(model: nn.Module, count: int, batch_size: int, processes: int) -> None:
    """Raise if batch normalization would have to take the spread of one single example."""
    last = (count % batch_size or batch_size) // processes
    if last == 1 and any(isinstance(layer, nn.BatchNorm1d) for layer in model.modules()):
        raise ValueError(
            f"batch_size must leave two or more of {count} examples to each process in the last "
            f"batch, since a {type(model).__name__} normalizes over the batch, got {batch_size}"
        )


def _check_finite(loss: float, parts: Parts, history: History) -> None:
    """Raise, with the model put back to the last snapshot, if an epoch led nowhere."""
    if math.isfinite(loss) and all(
        weights.isfinite().all() for weights in parts.model.state_dict().values()
    ):
        return
    if history.snapshot:
        parts.restore(history.snapshot)
    done, rate = len(history.epochs), history.settings["max_learning_rate"]
    raise TrainingError(
        f"epoch {done + 1} of {history.planned} diverged: a loss or a weight became infinite or "
        f"NaN. The model is back where it was after epoch {done}; lower max_learning_rate, it was "
        f"{rate:g}, and begin anew: a history goes on with the settings that it has",
        history,
    )


@contextlib.contextmanager
def _memory_watched(batch_size: int, history: History) -> Iterator[None]:
    """Raise a TrainingError if the part of a step that is done within finds too little memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        message = f"a step of batch_size={batch_size} does not fit into the memory: lower it"
        raise TrainingError(f"{message}, with a new history ({error})", history) from error


def _out_of_memory(error: BaseException) -> bool:
    """Say whether memory ran out; on the CPU torch says so with a plain RuntimeError."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)
