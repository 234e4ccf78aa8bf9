"""One file per model of the series, beside the parts they are built from."""

from __future__ import annotations

from typing import Any

from cvae_utils.checks import check_choice
from cvae_utils.models.base import ConditionalGenerator, ConditionalVAE
from cvae_utils.models.classifier import Classifier
from cvae_utils.models.conv_cvae import ConvCVAE
from cvae_utils.models.gan import CGAN, GAN
from cvae_utils.models.gaussian import Gaussian
from cvae_utils.models.inpainting_cvae import InpaintingCVAE
from cvae_utils.models.label_cvae import LabelCVAE
from cvae_utils.models.vae import VAE

__all__ = [
    "CGAN",
    "GAN",
    "MODELS",
    "VAE",
    "Classifier",
    "ConditionalGenerator",
    "ConditionalVAE",
    "ConvCVAE",
    "Gaussian",
    "InpaintingCVAE",
    "LabelCVAE",
    "Model",
    "build",
]

Model = VAE | LabelCVAE | ConvCVAE | InpaintingCVAE | GAN | CGAN | Classifier
MODELS: dict[str, type[Model]] = {
    model.name: model for model in (VAE, LabelCVAE, ConvCVAE, InpaintingCVAE, GAN, CGAN, Classifier)
}


def build(name: str, **config: Any) -> Model:
    """Build an untrained model from its name and its constructor's arguments.

    Raises:
        ValueError: an unknown name, or an argument out of range.
        TypeError: an argument that this model does not take.
    """
    check_choice("name", name, tuple(MODELS))
    return MODELS[name](**config)
