"""Going over many images on the model's device, some at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cvae_utils.checks import check_is, check_seed
from cvae_utils.data import Split
from cvae_utils.models import ConditionalGenerator
from cvae_utils.models.base import check_model, check_same_classes

CHUNK = 1000  # images or codes at a time: bounds the memory


def noise_source(device: torch.device, seed: int) -> torch.Generator:
    """Return a source of random numbers on that device."""
    return torch.Generator(device).manual_seed(check_seed("seed", seed))


def device_of(model: torch.nn.Module) -> torch.device:
    """Return where a model's weights are."""
    return next(model.parameters()).device


def beside(model: torch.nn.Module, tensor: Tensor) -> Tensor:
    """Return a tensor on a model's device, and in its precision where it is no whole number."""
    weight = next(model.parameters())
    return tensor.to(weight if tensor.is_floating_point() else weight.device)


def chunks(
    model: torch.nn.Module, *tensors: Tensor, codes: int = 1
) -> Iterator[tuple[Tensor, ...]]:
    """Go over tensors (N, ...), a few rows at a time beside the model, each with so many codes."""
    rows = max(1, CHUNK // codes)
    for parts in zip(*(tensor.split(rows) for tensor in tensors), strict=True):
        yield tuple(beside(model, part) for part in parts)


def check_measured(
    model: ConditionalGenerator, kind: type[ConditionalGenerator], split: Split, seed: int = 0
) -> None:
    """Raise unless these are a model of that kind, a split to measure it on, and a seed.

    Raises:
        TypeError: one of them is something else.
        ValueError: a seed out of range, or a split of another number of classes.
    """
    check_model("model", model, kind)
    check_is("split", split, Split)
    check_same_classes("split", split.num_classes, model)
    check_seed("seed", seed)
