"""A training run between two epochs, whole: what decides how it goes on, to the bit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Snapshot:
    """What decides the next epoch: weights, the optimizer's memory, its rate, the random numbers.

    Attributes:
        epoch: how many epochs were through.
        tensors: copies, by name: `model.*`, `optimizer.*` and `generator.*`.
        numbers: what is no tensor, as JSON could hold it.
    """

    epoch: int
    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """The moving parts of a run.

    Attributes:
        model: what is trained.
        optimizer: what moves it.
        scheduler: what sets the optimizer's rate.
        generators: the sources of randomness, by name.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    generators: Mapping[str, torch.Generator]

    def take(self, epoch: int) -> Snapshot:
        """Return a copy of everything, after so many epochs."""
        optimizer = self.optimizer.state_dict()
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, memory in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in memory.items()}
        tensors |= {f"generator.{name}": g.get_state() for name, g in self.generators.items()}
        numbers = {"groups": optimizer["param_groups"], "scheduler": self.scheduler.state_dict()}
        copies = {name: value.detach().clone() for name, value in tensors.items()}
        return Snapshot(epoch, copies, copy.deepcopy(numbers))

    def restore(self, snapshot: Snapshot) -> None:
        """Put everything back to where it was.

        Raises:
            ValueError: the snapshot is of another model.
        """
        found = {part: _below(part, snapshot.tensors) for part in ("model", "optimizer")}
        memory: dict[int, dict[str, Tensor]] = {}
        for name, value in found["optimizer"].items():
            index, key = name.split(".")
            memory.setdefault(int(index), {})[key] = value
        try:
            self.model.load_state_dict(found["model"])
        except RuntimeError as error:
            raise ValueError(f"the snapshot is of another model: {error}") from error
        numbers = copy.deepcopy(snapshot.numbers)
        self.optimizer.load_state_dict({"state": memory, "param_groups": numbers["groups"]})
        self.scheduler.load_state_dict(numbers["scheduler"])
        for name, generator in self.generators.items():
            generator.set_state(snapshot.tensors[f"generator.{name}"].cpu())


def _below(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{part}."
    return {name.removeprefix(start): v for name, v in tensors.items() if name.startswith(start)}
