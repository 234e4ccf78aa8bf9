"""What is minimized: the terms of the evidence lower bound, and the judge's cross-entropy.

Everything is per example and in nats: pixels and latent dimensions are summed, and only then is
the batch averaged. (A mean over pixels against a summed KL would weigh the KL 784 times too much.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from cvae_utils.checks import check_at_least, check_labels, check_unit_images
from cvae_utils.models import Classifier, ConditionalVAE, Gaussian


def bernoulli_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """Return log p(x | logits) per example, in nats, summed over the pixels.

    Args:
        logits: (B, 28, 28), any real numbers; the ink probability is sigmoid(logits).
        x: (B, 28, 28), 0 or 1; grey values are taken as the expectation over binary pixels.

    Returns:
        (B,), never positive.
    """
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def gaussian_kl(q: Gaussian, p: Gaussian) -> Tensor:
    """Return KL(q || p) per example and latent dimension, in nats, (B, latent_dim).

    For one dimension: (log vp/vq + (vq + (mq - mp)^2) / vp - 1) / 2, with means m and variances v.
    With p = N(0, 1) this is appendix B of Kingma & Welling (2014).
    """
    squared_distance = (q.mu - p.mu).square()
    ratio = (squared_distance + q.logvar.exp()) * (-p.logvar).exp()
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
    labels: Tensor,
    generator: torch.Generator | None = None,
    *,
    validate_args: bool = True,
) -> ElboTerms:
    """Return both costs of the ELBO, with one draw of z per example.

    Args:
        model: any autoencoder of the series.
        x: (B, 28, 28) in [0, 1]; binary, if the figures are to be nats of a real likelihood.
        labels: (B,) int64.
        generator: the source of the noise, on the model's device.
        validate_args: the training loop checks its data once and says False here, since reading
            a tensor's range makes a GPU wait.

    Raises:
        ValueError: images outside [0, 1], labels outside 0 to 9, wrong shapes or dtypes.
    """
    if validate_args:
        check_unit_images("x", x)
        check_labels("labels", labels, batch=len(x))
    c = model.condition(labels)
    q: Gaussian = model.recognition_net(x, c)
    p: Gaussian = model.prior_net(c)
    logits = model.generation_net(q.sample(generator), c)
    return ElboTerms(-bernoulli_log_likelihood(logits, x), gaussian_kl(q, p).sum(1))


def negative_elbo(
    model: ConditionalVAE, x: Tensor, labels: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return what an autoencoder trains on: `loss` and its two parts, each (B,) in nats."""
    terms = elbo_terms(model, x, labels, generator, validate_args=False)
    return {"loss": terms.negative_elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}


def log_importance_weights(
    model: ConditionalVAE,
    x: Tensor,
    labels: Tensor,
    samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Return log w = log p(x | z, c) + log p(z | c) - log q(z | x, c) at codes z from q.

    The mean of one row's log w is the ELBO, by sampling; the log of the mean of w is tighter
    (Burda et al. 2016). See `importance_weighted_bound`.

    Args:
        model: any autoencoder of the series.
        x: (B, 28, 28) in [0, 1]; binary, if the figures are to be nats of a real likelihood.
        labels: (B,) int64.
        samples: codes drawn for each image, K.
        generator: the source of the noise, on the model's device.

    Returns:
        (B, K), in nats.

    Raises:
        ValueError: no samples, images outside [0, 1], labels outside 0 to 9, wrong shapes or
            dtypes.
    """
    check_unit_images("x", x)
    check_labels("labels", labels, batch=len(x))
    check_at_least("samples", samples, 1)
    # Each image stands K times in a row: (B, ...) -> (B K, ...)
    c = model.condition(labels)
    q: Gaussian = model.recognition_net(x, c)
    q = Gaussian(*(part.repeat_interleave(samples, dim=0) for part in q))
    c = c.repeat_interleave(samples, dim=0)
    z = q.sample(generator)
    p: Gaussian = model.prior_net(c)
    likelihood = bernoulli_log_likelihood(
        model.generation_net(z, c), x.repeat_interleave(samples, dim=0)
    )
    return (likelihood + p.log_prob(z) - q.log_prob(z)).view(len(x), samples)


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """Return log((w_1 + ... + w_K) / K) of the last dimension, (..., K) -> (...), in nats.

    A lower bound of log p(x | c) on average: the ELBO for K = 1, tighter with every further
    sample, exact in the limit (Burda et al. 2016, theorem 1).
    """
    return log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])


def cross_entropy(
    model: Classifier, x: Tensor, labels: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return what the classifier trains on: `loss` in nats and `error` (0 or 1), each (B,)."""
    logits = model(x)
    loss = F.cross_entropy(logits, labels, reduction="none")
    return {"loss": loss, "error": (logits.argmax(1) != labels).float()}
