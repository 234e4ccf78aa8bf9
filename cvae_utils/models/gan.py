"""Notebook 05: generative adversarial networks, without labels and with them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvae_utils.checks import NUM_CLASSES, check_at_least, check_positive
from cvae_utils.models.base import ConditionalGenerator, one_hot_labels
from cvae_utils.models.conv_cvae import SIDE
from cvae_utils.models.gaussian import Gaussian
from cvae_utils.models.mlp import StandardNormalPrior

SLOPE = 0.2  # of a leaky ReLU below zero: a unit that is off still passes gradients back


class AdversarialGenerationNet(nn.Module):
    """Code and condition in, one logit per pixel out, normalized at every step.

    Much as the generation network of notebook 03. But its only teacher is a discriminator, which
    has little to say once an ink probability is stuck at 0: batch normalization keeps a young
    network from getting there (Radford et al. 2016).
    """

    def __init__(self, condition_dim: int, width: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.width = width
        self.dense = nn.Sequential(
            nn.Linear(latent_dim + condition_dim, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.SiLU(),
            nn.Linear(hidden, SIDE * SIDE * width, bias=False),
        )
        half = width // 2
        self.to_14 = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, 4 * half, 3, padding=1, bias=False),
            nn.PixelShuffle(2),  # (B, 4 half, 7, 7) -> (B, half, 14, 14)
        )
        self.smooth = nn.Sequential(
            nn.BatchNorm2d(half), nn.SiLU(), nn.Conv2d(half, half, 3, padding=1, bias=False)
        )
        self.to_28 = nn.Sequential(
            nn.BatchNorm2d(half), nn.SiLU(), nn.Conv2d(half, 4, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Map z (B, latent_dim) and c (B, C) to logits (B, 28, 28)."""
        h = self.dense(torch.cat([z, c], dim=1))  # (B, latent_dim + C) -> (B, 49 width)
        h = h.view(-1, self.width, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
        h = self.smooth(self.to_14(h))  # (B, width, 7, 7) -> (B, width / 2, 14, 14)
        logits: Tensor = self.to_28(h).squeeze(1)  # -> (B, 1, 28, 28) -> (B, 28, 28)
        return logits


class Discriminator(nn.Module):
    """D(x, c): how real does an image look, for its condition? 28 -> 14 -> 7 -> 4, one logit.

    The condition joins in the last layer, which has weights for every image and further ones for
    each number of the condition: a projection (Miyato & Koyama 2018).
    """

    def __init__(self, condition_dim: int, width: int, hidden: int) -> None:
        super().__init__()
        half, twice = width // 2, 2 * width
        self.halve = nn.Conv2d(1, half, 5, stride=2, padding=2)
        self.look = nn.Conv2d(half, half, 3, padding=1)
        self.halve_again = nn.Conv2d(half, width, 3, stride=2, padding=1)
        self.look_again = nn.Conv2d(width, width, 3, padding=1)
        self.halve_once_more = nn.Conv2d(width, twice, 3, stride=2, padding=1)
        self.dense = nn.Linear(4 * 4 * twice, hidden)
        self.verdicts = nn.Linear(hidden, 1 + condition_dim)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Map x (B, 28, 28) and c (B, C) to logits (B,): above zero for "real"."""
        h = x[:, None].contiguous(memory_format=torch.channels_last)  # (B, 1, 28, 28)
        h = F.leaky_relu(self.halve(h), SLOPE)  # -> (B, width / 2, 14, 14)
        h = F.leaky_relu(self.look(h), SLOPE)
        h = F.leaky_relu(self.halve_again(h), SLOPE)  # -> (B, width, 7, 7)
        h = F.leaky_relu(self.look_again(h), SLOPE)
        h = F.leaky_relu(self.halve_once_more(h), SLOPE)  # -> (B, 2 width, 4, 4)
        h = F.leaky_relu(self.dense(h.flatten(1)), SLOPE)  # -> (B, hidden)
        any_label, each_label = self.verdicts(h).split([1, c.shape[1]], dim=1)  # (B, 1), (B, C)
        logit: Tensor = any_label.squeeze(1) + (each_label * c).sum(1)  # -> (B,)
        return logit


class GAN(ConditionalGenerator):
    """A generator and a discriminator that learn from each other (Goodfellow et al. 2014).

    The generator has the parts that draw images in any model of the series: a prior and a
    generation network. In place of the recognition network stands a discriminator:

        discriminator_net(x, c) -> logit (B,), above zero for "real"

    so there is no q(z | x, c): no reconstruction, and no bound on the likelihood.

    Args:
        latent_dim: numbers in a code.
        width: channels at 7 x 7, in both networks.
        hidden: units of the generation network's dense layer; the discriminator has half.
        temperature: how far from zero codes are drawn by `sample`, as a multiple of the prior's
            standard deviation. Codes far out have hardly been trained, and make the worst images:
            a little less than 1 leaves them out (Kingma & Dhariwal 2018; the truncation of
            Brock et al. 2019 is a relative). Training knows nothing of it.
        num_classes: how many different labels there are, whether it hears them or not.
    """

    name = "gan"
    hears: ClassVar[bool] = False  # labels, in both networks
    discriminator_net: nn.Module

    def __init__(
        self,
        latent_dim: int = 32,
        width: int = 32,
        hidden: int = 512,
        temperature: float = 0.9,
        num_classes: int = NUM_CLASSES,
    ) -> None:
        latent_dim = check_at_least("latent_dim", latent_dim, 1)
        width = check_at_least("width", width, 2)
        hidden = check_at_least("hidden", hidden, 2)
        check_positive("temperature", temperature)
        num_classes = check_at_least("num_classes", num_classes, 2)
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.temperature = temperature
        self.config = {
            "latent_dim": latent_dim,
            "width": width,
            "hidden": hidden,
            "temperature": temperature,
            "num_classes": num_classes,
        }
        condition_dim = num_classes if self.hears else 0
        self.prior_net = StandardNormalPrior(latent_dim)
        self.generation_net = AdversarialGenerationNet(condition_dim, width, hidden, latent_dim)
        self.discriminator_net = Discriminator(condition_dim, width, hidden // 2)
        self.to(memory_format=torch.channels_last)

    def condition(self, labels: Tensor) -> Tensor:
        """Return an empty condition, (B, 0)."""
        return next(self.parameters()).new_empty(len(labels), 0)

    def sample(self, given: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one image (B, 28, 28) for each label (B,), its code at `temperature`.

        Raises:
            ValueError: labels of no class, wrong shape or dtype, no labels.
        """
        self.check_given(given)
        prior: Gaussian = self.prior_net(self.condition(given))
        return self.generate(self.temperature * prior.sample(generator), given)

    def discriminate(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return how probably real the discriminator finds images (B, 28, 28), (B,) in (0, 1).

        Raises:
            ValueError: images outside [0, 1], labels of no class, wrong shapes or dtypes.
        """
        self.check_x(x)
        self.check_given(labels, len(x))
        return torch.sigmoid(self.discriminator_net(x, self.condition(labels)))


class CGAN(GAN):
    """The conditional GAN (Mirza & Osindero 2014): both networks are told the label."""

    name = "cgan"
    hears = True

    def condition(self, labels: Tensor) -> Tensor:
        """Return one-hot labels, (B,) -> (B, num_classes)."""
        return one_hot_labels(labels, self.num_classes, next(self.parameters()).dtype)
