"""Notebook 03: the convolutional CVAE, whose condition is an image channel per class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvae_utils.checks import NUM_CLASSES, check_at_least
from cvae_utils.models.base import ConditionalVAE, one_hot_labels
from cvae_utils.models.gaussian import Gaussian
from cvae_utils.models.mlp import StandardNormalPrior, mlp

SIDE = 7  # the small size at which most of the work is done: 28 -> 14 -> 7


def label_planes(c: Tensor, side: int) -> Tensor:
    """Spread each number of c (B, C) over an image of its own, (B, C, side, side)."""
    return c[:, :, None, None].expand(-1, -1, side, side)


class Residual(nn.Module):
    """h + f(h), with two convolutions in f: (B, width, H, W) -> the same (He et al. 2016).

    The second convolution's weights start at zero, so at first the block only adds a constant to
    each channel.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor) -> Tensor:
        """Add what two convolutions make of h."""
        change: Tensor = self.second(F.silu(self.first(F.silu(h))))
        return h + change


class ConvGaussian(nn.Module):
    """Image channels in, one Gaussian per example out: 28 -> 14 -> 7, and a dense layer."""

    def __init__(self, channels: int, width: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.halve = nn.Conv2d(channels, width // 2, 5, stride=2, padding=2)
        self.halve_again = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)
        self.block = Residual(width)
        self.dense = mlp([SIDE * SIDE * width, hidden, 2 * latent_dim])

    def gaussian(self, h: Tensor) -> Gaussian:
        """Map h (B, channels, 28, 28) to mu and logvar, both (B, latent_dim)."""
        h = h.contiguous(memory_format=torch.channels_last)
        h = F.silu(self.halve(h))  # -> (B, width / 2, 14, 14)
        h = self.block(self.halve_again(h))  # -> (B, width, 7, 7)
        h = F.silu(h).flatten(1)  # -> (B, 49 width)
        mu, logvar = self.dense(h).chunk(2, dim=1)  # -> twice (B, latent_dim)
        return Gaussian(mu, logvar)


class ConvRecognitionNet(ConvGaussian):
    """q(z | x, c): 1 + C image channels in, one Gaussian per example out."""

    def __init__(self, condition_dim: int, width: int, hidden: int, latent_dim: int) -> None:
        super().__init__(1 + condition_dim, width, hidden, latent_dim)

    def forward(self, x: Tensor, c: Tensor) -> Gaussian:
        """Map x (B, 28, 28) and c (B, C) to mu and logvar, both (B, latent_dim)."""
        # (B, 1, 28, 28), (B, C, 28, 28) -> (B, 1 + C, 28, 28)
        return self.gaussian(torch.cat([x[:, None], label_planes(c, x.shape[-1])], dim=1))


class ConvGenerationNet(nn.Module):
    """p(x | z, c): code and label in, one logit per pixel out.

    The label joins before the dense layer, which turns it into planes at 7 x 7 that need not be
    constant.
    """

    def __init__(self, condition_dim: int, width: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.width = width
        self.dense = mlp([latent_dim + condition_dim, hidden, SIDE * SIDE * width])
        self.block = Residual(width)
        self.to_14 = nn.Conv2d(width, 4 * (width // 2), 3, padding=1)
        self.smooth = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.to_28 = nn.Conv2d(width // 2, 4, 3, padding=1)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Map z (B, latent_dim) and c (B, C) to logits (B, 28, 28)."""
        h = self.dense(torch.cat([z, c], dim=1))  # (B, latent_dim + C) -> (B, 49 width)
        h = h.view(-1, self.width, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
        h = self.to_14(F.silu(self.block(h)))  # (B, width, 7, 7) -> (B, 2 width, 7, 7)
        h = F.pixel_shuffle(h, 2)  # sub-pixel upsampling -> (B, width / 2, 14, 14)
        h = h + self.smooth(F.silu(h))
        h = self.to_28(F.silu(h))  # -> (B, 4, 14, 14)
        return F.pixel_shuffle(h, 2).squeeze(1)  # -> (B, 1, 28, 28) -> (B, 28, 28)


class ConvCVAE(ConditionalVAE):
    """A convolutional autoencoder with the label as image channels.

    Args:
        latent_dim: numbers in a code.
        width: channels at 7 x 7, half as many at 14 x 14.
        hidden: units of the dense layer on either side of the code.
        num_classes: how many different labels there are.
    """

    name = "conv_cvae"

    def __init__(
        self,
        latent_dim: int = 16,
        width: int = 32,
        hidden: int = 512,
        num_classes: int = NUM_CLASSES,
    ) -> None:
        latent_dim = check_at_least("latent_dim", latent_dim, 1)
        width = check_at_least("width", width, 2)
        hidden = check_at_least("hidden", hidden, 1)
        num_classes = check_at_least("num_classes", num_classes, 2)
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.config = {
            "latent_dim": latent_dim,
            "width": width,
            "hidden": hidden,
            "num_classes": num_classes,
        }
        self.recognition_net = ConvRecognitionNet(num_classes, width, hidden, latent_dim)
        self.prior_net = StandardNormalPrior(latent_dim)
        self.generation_net = ConvGenerationNet(num_classes, width, hidden, latent_dim)
        self.to(memory_format=torch.channels_last)

    def condition(self, labels: Tensor) -> Tensor:
        """Return one-hot labels, (B,) -> (B, num_classes)."""
        return one_hot_labels(labels, self.num_classes, next(self.parameters()).dtype)
