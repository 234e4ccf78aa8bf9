"""One file per model of the series, beside the parts they are built from."""

from __future__ import annotations

from typing import Any

from cvae_utils.checks import check_choice
from cvae_utils.models.base import ConditionalVAE
from cvae_utils.models.classifier import Classifier
from cvae_utils.models.conv_cvae import ConvCVAE
from cvae_utils.models.gaussian import Gaussian
from cvae_utils.models.inpainting_cvae import InpaintingCVAE
from cvae_utils.models.label_cvae import LabelCVAE
from cvae_utils.models.vae import VAE

__all__ = [
    "MODELS",
    "VAE",
    "Classifier",
    "ConditionalVAE",
    "ConvCVAE",
    "Gaussian",
    "InpaintingCVAE",
    "LabelCVAE",
    "build",
]

Autoencoder = VAE | LabelCVAE | ConvCVAE | InpaintingCVAE
MODELS: dict[str, type[Autoencoder] | type[Classifier]] = {
    model.name: model for model in (VAE, LabelCVAE, ConvCVAE, InpaintingCVAE, Classifier)
}


def build(name: str, **config: Any) -> Autoencoder | Classifier:
    """Build an untrained model from its name and its constructor's arguments.

    Raises:
        ValueError: an unknown name, or an argument out of range.
        TypeError: an argument that this model does not take.
    """
    check_choice("name", name, tuple(MODELS))
    return MODELS[name](**config)
