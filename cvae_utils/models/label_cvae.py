"""Notebook 02: the autoencoder that is told the label (Sohn et al. 2015; Kingma et al. 2014)."""

from __future__ import annotations

from torch import Tensor, nn

from cvae_utils.checks import NUM_CLASSES, check_at_least, check_choice
from cvae_utils.models.base import ConditionalVAE, one_hot_labels
from cvae_utils.models.gaussian import Gaussian
from cvae_utils.models.mlp import GenerationNet, RecognitionNet, StandardNormalPrior

LABEL_IN = ("both", "generation")


class LabelBlind(nn.Module):
    """A recognition network that is shown an empty condition: q(z | x) in place of q(z | x, c)."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.net = RecognitionNet(0, width, latent_dim)

    def forward(self, x: Tensor, c: Tensor) -> Gaussian:
        """Map x (B, 28, 28) to mu and logvar, both (B, latent_dim); c (B, C) is dropped."""
        result: Gaussian = self.net(x, c[:, :0])
        return result


class LabelCVAE(ConditionalVAE):
    """An MLP autoencoder with the one-hot label beside the image and beside the code.

    Args:
        latent_dim: numbers in a code.
        width: units in each hidden layer.
        label_in: `"both"`, or `"generation"` for the ablation in which the recognition network
            does not see the label.
        num_classes: how many different labels there are.
    """

    name = "label_cvae"

    def __init__(
        self,
        latent_dim: int = 16,
        width: int = 512,
        label_in: str = "both",
        num_classes: int = NUM_CLASSES,
    ) -> None:
        latent_dim = check_at_least("latent_dim", latent_dim, 1)
        width = check_at_least("width", width, 1)
        check_choice("label_in", label_in, LABEL_IN)
        num_classes = check_at_least("num_classes", num_classes, 2)
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.config = {
            "latent_dim": latent_dim,
            "width": width,
            "label_in": label_in,
            "num_classes": num_classes,
        }
        self.recognition_net = (
            RecognitionNet(num_classes, width, latent_dim)
            if label_in == "both"
            else LabelBlind(width, latent_dim)
        )
        self.prior_net = StandardNormalPrior(latent_dim)
        self.generation_net = GenerationNet(num_classes, width, latent_dim)

    def condition(self, labels: Tensor) -> Tensor:
        """Return one-hot labels, (B,) -> (B, num_classes)."""
        return one_hot_labels(labels, self.num_classes, next(self.parameters()).dtype)
