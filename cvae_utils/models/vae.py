"""Notebook 01: the variational autoencoder (Kingma & Welling 2014), which knows no labels."""

from __future__ import annotations

from torch import Tensor

from cvae_utils.checks import NUM_CLASSES, check_at_least
from cvae_utils.models.base import ConditionalVAE
from cvae_utils.models.mlp import GenerationNet, RecognitionNet, StandardNormalPrior


class VAE(ConditionalVAE):
    """An MLP autoencoder whose condition is empty: labels tell it only how many images.

    Args:
        latent_dim: numbers in a code.
        width: units in each hidden layer.
        num_classes: of the labels that it is given and does not hear.
    """

    name = "vae"

    def __init__(
        self, latent_dim: int = 16, width: int = 512, num_classes: int = NUM_CLASSES
    ) -> None:
        latent_dim = check_at_least("latent_dim", latent_dim, 1)
        width = check_at_least("width", width, 1)
        num_classes = check_at_least("num_classes", num_classes, 2)
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.config = {"latent_dim": latent_dim, "width": width, "num_classes": num_classes}
        self.recognition_net = RecognitionNet(0, width, latent_dim)
        self.prior_net = StandardNormalPrior(latent_dim)
        self.generation_net = GenerationNet(0, width, latent_dim)

    def condition(self, labels: Tensor) -> Tensor:
        """Return an empty condition, (B, 0)."""
        return next(self.parameters()).new_empty(len(labels), 0)
