"""The objects behind every model of the series: networks and a condition."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cvae_utils.checks import (
    NUM_CLASSES,
    check_beside,
    check_codes,
    check_labels,
    check_unit_images,
)
from cvae_utils.models.gaussian import Gaussian


def one_hot_labels(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Return labels (B,) int64 as zeros and a one each, (B, num_classes): what models hear."""
    return nn.functional.one_hot(labels, num_classes).to(dtype)


class ConditionalGenerator(nn.Module):
    """p(x, z | c) = p(z | c) p(x | z, c): what draws images, in every model of the series.

    Sohn, Lee & Yan (2015) name the parts; a subclass builds them:

        prior_net(c)            -> Gaussian p(z | c)
        generation_net(z, c)    -> logits of the images, (B, 28, 28)

    with z of shape (B, latent_dim), and a condition c that is made of what the model is given:
    labels (B,) -> c (B, num_classes), or (B, 0) for a model that does not listen. A model that is
    given something else overrides the three methods that follow.
    """

    name: ClassVar[str]  # what checkpoints and the command line call the model
    told: ClassVar[str] = "labels"  # what it is given, in words
    num_classes: int = NUM_CLASSES  # labels are below it, also those that a model does not hear
    latent_dim: int
    config: dict[str, Any]  # the constructor's arguments: with the name, they rebuild the model
    prior_net: nn.Module
    generation_net: nn.Module

    def check_x(self, x: Tensor, *, values: bool = True) -> None:
        """Raise a ValueError unless `x` is images in [0, 1], where this model is.

        `values=False` takes their range on trust: reading it makes a GPU wait.
        """
        check_unit_images("x", x, values=values)
        check_beside("x", x, next(self.parameters()))

    def check_given(self, given: Tensor, batch: int | None = None, *, values: bool = True) -> None:
        """Raise a ValueError unless `given` is what this model is told, for `batch` examples.

        `values=False` takes their range on trust, as in `check_x`.
        """
        check_labels("labels", given, batch, values=values, num_classes=self.num_classes)
        check_beside("labels", given, next(self.parameters()))

    def condition(self, given: Tensor) -> Tensor:
        """Turn what is given, labels (B,) int64, into the condition c, (B, C)."""
        raise NotImplementedError

    def paint(self, logits: Tensor, c: Tensor) -> Tensor:
        """Turn the logits into images, both (B, 28, 28): here the ink probabilities."""
        return torch.sigmoid(logits)

    def generate(self, z: Tensor, given: Tensor) -> Tensor:
        """Return the images (B, 28, 28) of the codes z (B, latent_dim), as ink probabilities.

        Raises:
            ValueError: labels of no class, wrong shapes or dtypes, codes that are not finite.
        """
        self.check_given(given)
        check_codes("z", z, self.latent_dim, batch=len(given))
        check_beside("z", z, next(self.parameters()))
        c = self.condition(given)
        return self.paint(self.generation_net(z, c), c)

    def sample(self, given: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one image (B, 28, 28) of ink probabilities for each example that is given.

        z comes from the prior, then x. A model that does not listen to labels gives as many images
        as there are labels.

        Raises:
            ValueError: labels of no class, wrong shape or dtype, no labels.
        """
        self.check_given(given)
        prior: Gaussian = self.prior_net(self.condition(given))
        return self.generate(prior.sample(generator), given)


class ConditionalVAE(ConditionalGenerator):
    """A generator with an approximate posterior q(z | x, c): three networks and a condition.

        recognition_net(x, c)   -> Gaussian q(z | x, c)

    with x of shape (B, 28, 28) in [0, 1]. The generator's logits are those of the Bernoulli
    p(x | z, c).
    """

    recognition_net: nn.Module

    def counted(self, c: Tensor) -> Tensor | None:
        """Return 1 for each pixel (B, 28, 28) that the likelihood counts, else 0; None is all."""
        return None

    def recognize(self, x: Tensor, given: Tensor) -> Gaussian:
        """Return q(z | x, c), the codes that could have produced these images (B, 28, 28).

        Raises:
            ValueError: images outside [0, 1], labels of no class, wrong shapes or dtypes.
        """
        self.check_x(x)
        self.check_given(given, len(x))
        result: Gaussian = self.recognition_net(x, self.condition(given))
        return result

    def reconstruct(self, x: Tensor, given: Tensor) -> Tensor:
        """Return the images (B, 28, 28) at the mean of q(z | x, c)."""
        return self.generate(self.recognize(x, given).mu, given)


@contextlib.contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; at the end each of its modules is in its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def check_model(name: str, model: object, kind: type[ConditionalGenerator]) -> None:
    """Raise a TypeError unless `model` is of that kind, and is told the same.

    An inpainting model is an autoencoder too, but has no use for labels.
    """
    if not isinstance(model, kind) or model.told != kind.told:
        wanted = f"a {kind.__name__} that is told {kind.told}"
        raise TypeError(f"{name} must be {wanted}, got one of type {type(model).__name__}")


def check_same_classes(name: str, num_classes: int, model: nn.Module) -> None:
    """Raise a ValueError unless a split or a judge has as many classes as a model.

    A model that is told something else than labels, or does not say of how many, takes any.

    Args:
        name: the argument's name, for the message.
        num_classes: the split's, or the judge's.
        model: a generator, a classifier, or any other module.
    """
    listens = getattr(model, "told", ConditionalGenerator.told) == ConditionalGenerator.told
    wanted = getattr(model, "num_classes", num_classes)
    if listens and num_classes != wanted:
        raise ValueError(
            f"{name} must have num_classes = {wanted} as the {type(model).__name__} has, "
            f"got {num_classes}"
        )
