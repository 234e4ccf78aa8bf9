"""What is minimized: the terms of the evidence lower bound, and the judge's cross-entropy.

Everything is per example and in nats: pixels and latent dimensions are summed, and only then is
the batch averaged. (A mean over pixels against a summed KL would weigh the KL 784 times too much.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from cvae_utils.checks import (
    check_at_least,
    check_beside,
    check_choice,
    check_floats,
    check_function,
    check_is,
    check_labels,
    check_number,
    check_unit_images,
)
from cvae_utils.masks import MaskSource, hide
from cvae_utils.models import GAN, Classifier, ConditionalVAE, Gaussian


def bernoulli_log_likelihood(logits: Tensor, x: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return log p(x | logits) per example, in nats, summed over the pixels that count.

    Args:
        logits: (B, 28, 28), any real numbers; the ink probability is sigmoid(logits).
        x: (B, 28, 28), 0 or 1; grey values are taken as the expectation over binary pixels.
        counted: (B, 28, 28), 1 for a pixel that counts and 0 for one that does not; None is all.

    Returns:
        (B,), never positive.

    Raises:
        ValueError: other shapes or dtypes, or tensors on different devices. Values are trusted.
    """
    check_floats("logits", logits, "B", 28, 28)
    parts = {"x": x} if counted is None else {"x": x, "counted": counted}
    for name, part in parts.items():
        check_floats(name, part, *logits.shape)
        check_beside(name, part, logits, "logits")
    pixels = F.binary_cross_entropy_with_logits(logits, x, counted, reduction="none")
    return -pixels.flatten(1).sum(1)


def gaussian_kl(q: Gaussian, p: Gaussian) -> Tensor:
    """Return KL(q || p) per example and latent dimension, in nats, (B, latent_dim).

    For one dimension: (log vp/vq + (vq + (mq - mp)^2) / vp - 1) / 2, with means m and variances v.
    With p = N(0, 1) this is appendix B of Kingma & Welling (2014).

    Raises:
        TypeError: something else than a Gaussian.
        ValueError: Gaussians of different shapes, or on different devices.
    """
    for name, gaussian in {"q": q, "p": p}.items():
        check_is(name, gaussian, Gaussian)
        gaussian.check(name)
    check_floats("p.mu", p.mu, *q.mu.shape)
    q, p = q.float32(), p.float32()
    check_beside("p.mu", p.mu, q.mu, "q")
    away = (q.mu - p.mu) / p.std  # squared only now: 1 / vp alone may be infinite
    ratio = away.square() + (q.logvar - p.logvar).exp()
    return 0.5 * (p.logvar - q.logvar + ratio - 1)


class ElboTerms(NamedTuple):
    """The two costs of the evidence lower bound, per example, in nats; lower is better.

    Attributes:
        reconstruction: (B,) -log p(x | z, c) at one z drawn from q(z | x, c).
        kl: (B,) KL(q(z | x, c) || p(z | c)).
    """

    reconstruction: Tensor
    kl: Tensor

    @property
    def negative_elbo(self) -> Tensor:
        """(B,) reconstruction + kl, an upper bound of -log p(x | c) on average."""
        return self.reconstruction + self.kl


def elbo_terms(
    model: ConditionalVAE,
    x: Tensor,
    given: Tensor,
    generator: torch.Generator | None = None,
    *,
    validate_args: bool = True,
) -> ElboTerms:
    """Return both costs of the ELBO, with one draw of z per example.

    Args:
        model: any autoencoder of the series.
        x: (B, 28, 28) in [0, 1]; binary, if the figures are to be nats of a real likelihood.
        given: what the model is told: labels (B,), or masked images (B, 2, 28, 28).
        generator: the source of the noise, on the model's device.
        validate_args: the training loop checks its data once and says False here, since reading
            a tensor's range makes a GPU wait. Shapes and dtypes are always checked.

    Raises:
        ValueError: images outside [0, 1], labels of no class, wrong shapes or dtypes.
    """
    check_is("model", model, ConditionalVAE)
    model.check_x(x, values=validate_args)
    model.check_given(given, len(x), values=validate_args)
    c = model.condition(given)
    q: Gaussian = model.recognition_net(x, c)
    p: Gaussian = model.prior_net(c)
    logits = model.generation_net(q.sample(generator), c)
    likelihood = bernoulli_log_likelihood(logits, x, model.counted(c))
    return ElboTerms(-likelihood, gaussian_kl(q, p).sum(1))


def negative_elbo(
    model: ConditionalVAE, x: Tensor, given: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return what an autoencoder trains on: `loss` and its two parts, each (B,) in nats."""
    terms = elbo_terms(model, x, given, generator, validate_args=False)
    return {"loss": terms.negative_elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}


def log_importance_weights(
    model: ConditionalVAE,
    x: Tensor,
    given: Tensor,
    samples: int,
    generator: torch.Generator | None = None,
    *,
    proposal: str = "recognition",
) -> Tensor:
    """Return log w = log p(x | z, c) + log p(z | c) - log q(z | x, c) at codes z from q.

    The mean of one row's log w is the ELBO, by sampling; the log of the mean of w is tighter
    (Burda et al. 2016). See `importance_weighted_bound`. With codes from the prior in place of q
    the last two terms cancel: plain Monte Carlo, which needs many more samples.

    Args:
        model: any autoencoder of the series.
        x: (B, 28, 28) in [0, 1]; binary, if the figures are to be nats of a real likelihood.
        given: what the model is told: labels (B,), or masked images (B, 2, 28, 28).
        samples: codes drawn for each image, K.
        generator: the source of the noise, on the model's device.
        proposal: where the codes come from, `"recognition"` or `"prior"`.

    Returns:
        (B, K), in nats.

    Raises:
        ValueError: no samples, images outside [0, 1], labels of no class, wrong shapes or
            dtypes.
    """
    check_is("model", model, ConditionalVAE)
    model.check_x(x)
    model.check_given(given, len(x))
    samples = check_at_least("samples", samples, 1)
    check_choice("proposal", proposal, ("recognition", "prior"))
    # Each image stands K times in a row: (B, ...) -> (B K, ...)
    c = model.condition(given)
    p: Gaussian = model.prior_net(c)
    q: Gaussian = model.recognition_net(x, c) if proposal == "recognition" else p
    p, q = (
        Gaussian(*(part.repeat_interleave(samples, dim=0) for part in g.float32())) for g in (p, q)
    )
    c, x = (part.repeat_interleave(samples, dim=0) for part in (c, x))
    z = q.sample(generator)
    likelihood = bernoulli_log_likelihood(
        model.generation_net(z.to(x.dtype), c), x, model.counted(c)
    )
    return (likelihood + p.log_prob(z) - q.log_prob(z)).view(-1, samples)


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Return log((w_1 + ... + w_K) / K) of the last dimension, (..., K) -> (...), in nats.

    A lower bound of log p(x | c) on average: the ELBO for K = 1, tighter with every further
    sample, exact in the limit (Burda et al. 2016, theorem 1).

    Raises:
        ValueError: no samples, or no floating-point numbers. Values are trusted.
    """
    check_floats("log_weights", log_weights, ..., "K")
    return log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])


def inpainting(mask: MaskSource) -> Callable[..., dict[str, Tensor]]:
    """Return what an inpainting model trains on: the negative ELBO of what a mask hides.

    Args:
        mask: draws a mask for each example of a batch; `masks.always` repeats one.

    Returns:
        An objective of (model, x, labels, generator) that has no use for the labels.
    """
    check_function("mask", mask, "(batch size, generator), as masks.always makes one of a mask")

    def terms(
        model: ConditionalVAE, x: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        check_unit_images("x", x, values=False)
        given = hide(x, mask(len(x), generator), validate_args=False)
        return negative_elbo(model, x, given, generator)

    return terms


def cross_entropy(
    model: Classifier, x: Tensor, labels: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return what the classifier trains on: `loss` in nats and `error` (0 or 1), each (B,)."""
    check_is("model", model, Classifier)
    check_unit_images("x", x, values=False)
    check_beside("x", x, next(model.parameters()))
    check_labels("labels", labels, len(x), values=False, num_classes=model.num_classes)
    check_beside("labels", labels, x, "x")
    logits = model(x)
    loss = F.cross_entropy(logits, labels, reduction="none")
    return {"loss": loss, "error": (logits.argmax(1) != labels).float()}


GAN_MOMENTUM = 0.5  # Radford et al. (2016): two players, each of which chases a moving target


def adversarial(penalty: float = 0.0) -> Callable[..., dict[str, Tensor]]:
    """Return what a GAN trains on: the discriminator's cost and the generator's, in one loss.

    The discriminator D should find x real and G(z) generated; the generator should have G(z) found
    real (Goodfellow et al. 2014, with the generator's loss that does not saturate):

        discriminator = -log D(x, c) - log(1 - D(G(z, c), c))      its gradient stops at G(z, c)
        generator     = -log D(G(z, c), c)                         its gradient skips D's weights

    Neither gradient meets the other's weights, so one loss holds both games, and the loop that
    trains every other model trains this one.

    Args:
        penalty: weight of half the squared gradient of D's logit at real images (Mescheder et al.
            2018, R1): it keeps D from growing ever steeper.

    Returns:
        An objective of (model, x, labels, generator): `loss` and its parts in nats, and how
        probably real D finds real images (`real`) and generated ones (`fake`), each (B,).
    """
    check_number("penalty", penalty, 0)

    def terms(
        model: GAN, x: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        check_is("model", model, GAN)
        model.check_x(x, values=False)
        model.check_given(labels, len(x), values=False)
        c = model.condition(labels)
        prior: Gaussian = model.prior_net(c)
        drawn = model.paint(model.generation_net(prior.sample(generator), c), c)
        x = x.detach().requires_grad_(penalty > 0)  # the caller's x stays as it is
        real_logit = model.discriminator_net(x, c)
        drawn_logit = model.discriminator_net(drawn.detach(), c)
        frozen = {name: p.detach() for name, p in model.discriminator_net.named_parameters()}
        passed_back = functional_call(model.discriminator_net, frozen, (drawn, c))
        parts = {
            "generator": F.softplus(-passed_back),  # softplus(-l) = -log sigmoid(l)
            "discriminator": F.softplus(-real_logit) + F.softplus(drawn_logit),
        }
        if penalty:
            (slope,) = torch.autograd.grad(real_logit.sum(), x, create_graph=True)
            parts["penalty"] = 0.5 * penalty * slope.square().flatten(1).sum(1)
        probabilities = {"real": torch.sigmoid(real_logit), "fake": torch.sigmoid(drawn_logit)}
        return {"loss": sum(parts.values()), **parts, **probabilities}  # type: ignore[dict-item]

    return terms
