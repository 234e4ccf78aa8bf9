"""Notebook 04: the CVAE that fills a hole, with a prior that is learned (Sohn et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvae_utils.checks import check_at_least, check_beside, check_masked_images
from cvae_utils.models.base import ConditionalVAE
from cvae_utils.models.conv_cvae import SIDE, ConvGaussian, Residual
from cvae_utils.models.gaussian import Gaussian


class InpaintingRecognitionNet(ConvGaussian):
    """q(z | x, c): the whole image beside what is visible of it, and the mask."""

    def __init__(self, width: int, hidden: int, latent_dim: int) -> None:
        super().__init__(3, width, hidden, latent_dim)

    def forward(self, x: Tensor, c: Tensor) -> Gaussian:
        """Map x (B, 28, 28) and c (B, 2, 28, 28) to mu and logvar, both (B, latent_dim)."""
        return self.gaussian(torch.cat([x[:, None], c], dim=1))  # -> (B, 3, 28, 28)


class InpaintingPriorNet(ConvGaussian):
    """p(z | c): which codes the visible pixels leave open."""

    def __init__(self, width: int, hidden: int, latent_dim: int) -> None:
        super().__init__(2, width, hidden, latent_dim)

    def forward(self, c: Tensor) -> Gaussian:
        """Map c (B, 2, 28, 28) to mu and logvar, both (B, latent_dim)."""
        return self.gaussian(c)


class EmptyCode(nn.Module):
    """The Gaussian of a model without a code: (B, 0), and a KL of zero."""

    def forward(self, x: Tensor, c: Tensor | None = None) -> Gaussian:
        """Return mu and logvar, both (B, 0)."""
        empty = x.new_empty(len(x), 0)
        return Gaussian(empty, empty)


class InpaintingGenerationNet(nn.Module):
    """p(x | z, c): a code and the visible pixels in, one logit per pixel out."""

    def __init__(self, width: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.width = width
        self.halve = nn.Conv2d(2, width // 2, 5, stride=2, padding=2)
        self.halve_again = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)
        self.dense_in = nn.Linear(SIDE * SIDE * width + latent_dim, hidden)
        self.dense_out = nn.Linear(hidden, SIDE * SIDE * width)
        self.block = Residual(width)
        self.to_14 = nn.Conv2d(width, 4 * (width // 2), 3, padding=1)
        self.smooth = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.to_28 = nn.Conv2d(width // 2, 4, 3, padding=1)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Map z (B, latent_dim) and c (B, 2, 28, 28) to logits (B, 28, 28)."""
        c = c.contiguous(memory_format=torch.channels_last)
        h_14 = F.silu(self.halve(c))  # -> (B, width / 2, 14, 14)
        h_7 = F.silu(self.halve_again(h_14))  # -> (B, width, 7, 7)
        h = torch.cat([h_7.flatten(1), z], dim=1)  # -> (B, 49 width + latent_dim)
        h = self.dense_out(F.silu(self.dense_in(h)))  # -> (B, 49 width)
        h = h.view(-1, self.width, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
        h = self.to_14(F.silu(self.block(h + h_7)))  # -> (B, 2 width, 7, 7)
        # What was seen at 14 x 14 is added again: strokes go on where the hole begins.
        h = F.pixel_shuffle(h, 2) + h_14  # -> (B, width / 2, 14, 14)
        h = h + self.smooth(F.silu(h))
        h = self.to_28(F.silu(h))  # -> (B, 4, 14, 14)
        return F.pixel_shuffle(h, 2).squeeze(1)  # -> (B, 1, 28, 28) -> (B, 28, 28)


class InpaintingCVAE(ConditionalVAE):
    """Fills the hidden pixels of an image, in as many ways as there are codes.

    What it is given is an image with its mask, as `masks.hide` returns it. Only hidden pixels are
    scored, and visible ones are passed through untouched.

    Args:
        latent_dim: numbers in a code; 0 is the plain network, which knows one answer.
        width: channels at 7 x 7, half as many at 14 x 14.
        hidden: units of the dense layers.
    """

    name = "inpainting_cvae"
    told = "masked images"

    def __init__(self, latent_dim: int = 32, width: int = 32, hidden: int = 256) -> None:
        latent_dim = check_at_least("latent_dim", latent_dim, 0)
        width = check_at_least("width", width, 2)
        hidden = check_at_least("hidden", hidden, 1)
        super().__init__()
        self.latent_dim = latent_dim
        self.config = {"latent_dim": latent_dim, "width": width, "hidden": hidden}
        self.recognition_net: nn.Module = EmptyCode()
        self.prior_net: nn.Module = EmptyCode()
        if latent_dim:
            self.recognition_net = InpaintingRecognitionNet(width, hidden, latent_dim)
            self.prior_net = InpaintingPriorNet(width, hidden, latent_dim)
        self.generation_net = InpaintingGenerationNet(width, hidden, latent_dim)
        self.to(memory_format=torch.channels_last)

    def check_given(self, given: Tensor, batch: int | None = None, *, values: bool = True) -> None:
        """Raise unless `given` is (B, 2, 28, 28): visible pixels, and a mask of zeros and ones."""
        check_masked_images("given", given, batch, values=values)
        check_beside("given", given, next(self.parameters()))

    def condition(self, given: Tensor) -> Tensor:
        """Return c, (B, 2, 28, 28): it is what was given."""
        return given

    def counted(self, c: Tensor) -> Tensor:
        """Return the hidden pixels, (B, 28, 28): the likelihood is theirs alone."""
        return 1 - c[:, 1]

    def paint(self, logits: Tensor, c: Tensor) -> Tensor:
        """Return the ink probabilities of the hidden pixels among the visible ones, untouched."""
        return torch.where(c[:, 1] == 1, c[:, 0], torch.sigmoid(logits))
