"""The object behind every autoencoder of the series: three networks and a condition."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cvae_utils.checks import check_codes, check_labels, check_unit_images
from cvae_utils.models.gaussian import Gaussian


class ConditionalVAE(nn.Module):
    """p(x, z | c) = p(z | c) p(x | z, c), with an approximate posterior q(z | x, c).

    Sohn, Lee & Yan (2015) name the parts; a subclass builds them:

        recognition_net(x, c)   -> Gaussian q(z | x, c)
        prior_net(c)            -> Gaussian p(z | c)
        generation_net(z, c)    -> logits of the Bernoulli p(x | z, c), (B, 28, 28)

    with x of shape (B, 28, 28) in [0, 1], z (B, latent_dim), and the condition c (B, C). A model
    without a condition has C = 0: it is the same code, and c is empty.
    """

    name: ClassVar[str]  # what checkpoints and the command line call the model
    latent_dim: int
    config: dict[str, Any]  # the constructor's arguments: with the name, they rebuild the model
    recognition_net: nn.Module
    prior_net: nn.Module
    generation_net: nn.Module

    def condition(self, labels: Tensor) -> Tensor:
        """Turn labels (B,) int64 into the condition c, (B, C)."""
        raise NotImplementedError

    def recognize(self, x: Tensor, labels: Tensor) -> Gaussian:
        """Return q(z | x, c), the codes that could have produced these images (B, 28, 28).

        Raises:
            ValueError: images outside [0, 1], labels outside 0 to 9, wrong shapes or dtypes.
        """
        check_unit_images("x", x)
        check_labels("labels", labels, batch=len(x))
        result: Gaussian = self.recognition_net(x, self.condition(labels))
        return result

    def generate(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the ink probabilities (B, 28, 28) of the codes z (B, latent_dim).

        Raises:
            ValueError: labels outside 0 to 9, wrong shapes or dtypes, codes that are not finite.
        """
        check_labels("labels", labels)
        check_codes("z", z, self.latent_dim, batch=len(labels))
        logits: Tensor = self.generation_net(z, self.condition(labels))
        return torch.sigmoid(logits)

    def sample(self, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one image (B, 28, 28) of ink probabilities per label: z from the prior, then x.

        A model that does not know labels gives as many images as there are labels.

        Raises:
            ValueError: labels outside 0 to 9, wrong shape or dtype, no labels.
        """
        check_labels("labels", labels)
        prior: Gaussian = self.prior_net(self.condition(labels))
        return self.generate(prior.sample(generator), labels)

    def reconstruct(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return the ink probabilities (B, 28, 28) at the mean of q(z | x, c)."""
        return self.generate(self.recognize(x, labels).mu, labels)
