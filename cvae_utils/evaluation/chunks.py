"""Going over many images on the model's device, some at a time."""

from __future__ import annotations

import torch

CHUNK = 1000  # images or codes at a time: bounds the memory


def noise_source(device: torch.device, seed: int) -> torch.Generator:
    """Return a source of random numbers on that device."""
    return torch.Generator(device).manual_seed(seed)


def device_of(model: torch.nn.Module) -> torch.device:
    """Return where a model's weights are."""
    return next(model.parameters()).device
