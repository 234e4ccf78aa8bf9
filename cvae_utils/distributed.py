"""Several processes that train one model together, as torchrun starts them.

`torchrun --nproc-per-node=2 -m cvae_utils train ...` starts two processes that differ in a few
environment variables. Each holds the whole model and a share of every batch, and torch's
DistributedDataParallel averages their gradients (Li et al. 2020). Without torchrun everything here
is a crew of one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Crew:
    """Who trains together.

    Attributes:
        rank: which of them this process is; 0 is the one that prints and writes.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process prints and writes for all."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Return this process's rows of a batch (B, ...): as many as everyone's if B divides."""
        return rows[self.rank :: self.size]

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of one tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(value)
        return value


def crew() -> Crew:
    """Return who trains together in this process."""
    if not (dist.is_available() and dist.is_initialized()):
        return Crew()
    return Crew(dist.get_rank(), dist.get_world_size())


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[Crew]:
    """Join the processes that torchrun has started, if it has; leave them at the end.

    Args:
        device: `"cpu"` to talk through gloo on any machine; otherwise, where there are GPUs, each
            process takes one of its own and they talk through NCCL.

    Raises:
        ValueError: fewer GPUs than processes, or a GPU by number for several of them.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Crew()
        return
    kind, _, number = device.partition(":")
    if kind == "cuda" and number and int(os.environ["WORLD_SIZE"]) > 1:
        raise ValueError(
            f"device must be 'cpu', 'cuda' or 'auto' for several processes, got {device!r}: "
            "each takes a GPU of its own"
        )
    on_gpus = kind != "cpu" and torch.cuda.is_available()
    if on_gpus:
        mine, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if mine >= count:
            raise ValueError(
                f"device must be 'cpu' where there are fewer GPUs than processes, got {device!r} "
                f"for process {mine + 1} and {count} GPU(s)"
            )
        torch.cuda.set_device(mine)
    dist.init_process_group("nccl" if on_gpus else "gloo")
    try:
        yield crew()
    finally:
        dist.destroy_process_group()
