"""A training run between two epochs, whole: what decides how it goes on, to the bit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)  # tensors do not compare as a whole
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
            ValueError: the snapshot is of another model, of a run on another kind of device, or of
                an earlier version; nothing has changed then.
        """
        found, wanted = _below("model", snapshot.tensors), self.model.state_dict()
        for name in sorted(found.keys() | wanted.keys()):
            shapes = [tuple(m[name].shape) if name in m else None for m in (found, wanted)]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"history must be of this model: {name} has shape {shapes[0]} there, "
                    f"{shapes[1]} was wanted"
                )
        for name, generator in self.generators.items():
            state = snapshot.tensors.get(f"generator.{name}")
            if state is None:
                raise ValueError(
                    f"history must hold the random numbers of {tuple(self.generators)}, got one of "
                    f"an earlier version, without {name!r}: begin anew"
                )
            if state.shape != generator.get_state().shape:
                raise ValueError(
                    "history must be of a run on the same kind of device, whose random numbers "
                    f"it goes on with, got one of another kind for {generator.device.type!r}"
                )
        self.model.load_state_dict(found)
        weights = [w for group in self.optimizer.param_groups for w in group["params"]]
        memory: dict[int, dict[str, Tensor]] = {}
        for name, value in _below("optimizer", snapshot.tensors).items():
            index, key = name.split(".")
            like = weights[int(index)] if value.ndim else value
            # A copy, laid out as the weights are: the fused step walks through both in one pace.
            memory.setdefault(int(index), {})[key] = torch.empty_like(like).copy_(value)
        numbers = copy.deepcopy(snapshot.numbers)
        self.optimizer.load_state_dict({"state": memory, "param_groups": numbers["groups"]})
        self.scheduler.load_state_dict(numbers["scheduler"])
        for name, generator in self.generators.items():
            generator.set_state(snapshot.tensors[f"generator.{name}"].cpu())


def _below(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{part}."
    return {name.removeprefix(start): v for name, v in tensors.items() if name.startswith(start)}
