"""The fully connected networks of notebooks 01 and 02."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from cvae_utils.checks import IMAGE_SHAPE
from cvae_utils.models.gaussian import Gaussian

PIXELS = IMAGE_SHAPE[0] * IMAGE_SHAPE[1]


def mlp(sizes: list[int]) -> nn.Sequential:
    """Return linear layers of the given sizes with a SiLU between each two.

    None follows the last layer: means, log-variances and logits may take any sign.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class RecognitionNet(nn.Module):
    """q(z | x, c): image and condition in, one Gaussian per example out."""

    def __init__(self, condition_dim: int, width: int, latent_dim: int) -> None:
        super().__init__()
        self.layers = mlp([PIXELS + condition_dim, width, width, 2 * latent_dim])

    def forward(self, x: Tensor, c: Tensor) -> Gaussian:
        """Map x (B, 28, 28) and c (B, C) to mu and logvar, both (B, latent_dim)."""
        h = torch.cat([x.flatten(1), c], dim=1)  # (B, 28, 28), (B, C) -> (B, 784 + C)
        mu, logvar = self.layers(h).chunk(2, dim=1)  # (B, 2 latent_dim) -> twice (B, latent_dim)
        return Gaussian(mu, logvar)


class StandardNormalPrior(nn.Module):
    """p(z | c) = N(0, I): a prior network with nothing to learn, and no use for c."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def forward(self, c: Tensor) -> Gaussian:
        """Map c (B, C) to zeros and zeros, both (B, latent_dim): mean 0, variance 1."""
        zeros = c.new_zeros(len(c), self.latent_dim)
        return Gaussian(zeros, zeros)


class GenerationNet(nn.Module):
    """p(x | z, c): code and condition in, one logit per pixel out."""

    def __init__(self, condition_dim: int, width: int, latent_dim: int) -> None:
        super().__init__()
        self.layers = mlp([latent_dim + condition_dim, width, width, PIXELS])

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Map z (B, latent_dim) and c (B, C) to logits (B, 28, 28)."""
        h = torch.cat([z, c], dim=1)  # (B, latent_dim), (B, C) -> (B, latent_dim + C)
        logits: Tensor = self.layers(h)
        return logits.view(-1, *IMAGE_SHAPE)  # (B, 784) -> (B, 28, 28)
