"""What an image costs a model, in nats: the ELBO and the importance-weighted estimates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cvae_utils.checks import check_all_at_least
from cvae_utils.data import Split, fixed_binarization, to_unit
from cvae_utils.evaluation.chunks import beside, check_measured, chunks, device_of, noise_source
from cvae_utils.evaluation.estimates import Estimate, mean_and_error
from cvae_utils.masks import check_one_mask, hide
from cvae_utils.models import ConditionalVAE, InpaintingCVAE
from cvae_utils.models.base import at_rest
from cvae_utils.objectives import (
    elbo_terms,
    importance_weighted_bound,
    log_importance_weights,
)


class Elbo(NamedTuple):
    """The ELBO's two costs on a whole split, in nats per image; lower is better.

    Attributes:
        negative_elbo: reconstruction + kl.
        reconstruction: mean of -log p(x | z, c).
        kl: mean of KL(q(z | x, c) || p(z | c)).
        standard_error: of `negative_elbo`, over the images.
    """

    negative_elbo: float
    reconstruction: float
    kl: float
    standard_error: float


@torch.no_grad()
def elbo(model: ConditionalVAE, split: Split, seed: int = 0) -> Elbo:
    """Measure the ELBO on a split that is binarized by sampling with a fixed seed.

    Args:
        model: any autoencoder of the series.
        split: uint8 images and labels.
        seed: decides the binarization (the same on every machine) and the one draw of z.
    """
    check_measured(model, ConditionalVAE, split, seed)
    with at_rest(model):
        noise = noise_source(device_of(model), seed)
        x = fixed_binarization(split.images, seed)
        costs = [
            torch.stack(elbo_terms(model, part, labels, noise))
            for part, labels in chunks(model, x, split.labels)
        ]
    reconstruction, kl = torch.cat(costs, dim=1).double().cpu()
    total, error = mean_and_error(reconstruction + kl)
    return Elbo(total, reconstruction.mean().item(), kl.mean().item(), error)


def negative_log_likelihood(
    model: ConditionalVAE, split: Split, samples: Sequence[int] = (500,), seed: int = 0
) -> dict[int, Estimate]:
    """Estimate -log p(x | c) by importance sampling from q(z | x, c) (Burda et al. 2016).

    On average it is too high, and less so with more codes: it is minus the logarithm of a noisy
    mean (Jensen).

    Args:
        model: any autoencoder of the series.
        split: uint8 images and labels; binarized by sampling with a fixed seed, as in `elbo`.
        samples: how many codes per image an estimate may use; each divides the largest. All
            estimates share the largest number of codes: a smaller one is the mean over all its
            groups, so that the estimates differ in tightness and not in luck.
        seed: decides the binarization and the codes.

    Returns:
        Number of samples -> estimate.

    Raises:
        ValueError: no number of samples, or one that does not divide the largest.
    """
    check_measured(model, ConditionalVAE, split, seed)
    samples = _check_samples(samples)
    x = fixed_binarization(split.images, seed)
    return _estimate(model, x, split.labels, samples, seed, "recognition")


def hole_nll(
    model: InpaintingCVAE,
    split: Split,
    mask: Tensor,
    samples: Sequence[int] = (100,),
    seed: int = 0,
    proposal: str = "recognition",
) -> dict[int, Estimate]:
    """Estimate -log p(hidden pixels | visible ones), the conditional log-likelihood of a hole.

    The experiment of Sohn et al. (2015), with grey values taken as Bernoulli probabilities as in
    Pyro's tutorial of it; only hidden pixels count. Of grey pixels this is a cost in nats, and no
    normalized likelihood: compare it with figures computed the same way.

    Args:
        model: an inpainting model.
        split: uint8 images.
        mask: (28, 28), 1 where visible.
        samples: how many codes per image an estimate may use; see `negative_log_likelihood`.
        seed: decides the codes.
        proposal: `"recognition"` for importance sampling, `"prior"` for plain Monte Carlo.

    Returns:
        Number of samples -> estimate.

    Raises:
        ValueError: as `negative_log_likelihood`, or something that is no mask.
    """
    check_measured(model, InpaintingCVAE, split, seed)
    check_one_mask("mask", mask)
    samples = _check_samples(samples)
    x = to_unit(split.images)
    return _estimate(model, x, hide(x, mask), samples, seed, proposal)


def _check_samples(samples: Sequence[int]) -> list[int]:
    """Return `samples` as plain ints; raise unless each of them divides the largest."""
    samples = check_all_at_least("samples", samples, 1)
    for count in samples:
        if max(samples) % count:
            raise ValueError(f"samples must each divide the largest, {max(samples)}, got {count}")
    return samples


@torch.no_grad()
def _estimate(
    model: ConditionalVAE,
    x: Tensor,
    given: Tensor,
    samples: Sequence[int],
    seed: int,
    proposal: str,
) -> dict[int, Estimate]:
    with at_rest(model):
        noise = noise_source(device_of(model), seed)
        bounds: dict[int, list[Tensor]] = {count: [] for count in samples}
        for part, told in chunks(model, x, given, codes=max(samples)):
            log_weights = log_importance_weights(
                model, part, told, max(samples), noise, proposal=proposal
            )
            for count, rows in bounds.items():
                groups = log_weights.view(len(part), -1, count)  # (B, K) -> (B, K / count, count)
                rows.append(importance_weighted_bound(groups).mean(1))
    return {count: mean_and_error(-torch.cat(rows)) for count, rows in bounds.items()}


@torch.no_grad()
def reconstruction_error(model: ConditionalVAE, split: Split) -> Estimate:
    """Measure how far images are from what the model makes of them, at the mean of q(z | x, c).

    Returns:
        The squared error summed over the pixels of an image, mean over the split. The images are
        grey, as they are: nothing here is random.
    """
    check_measured(model, ConditionalVAE, split)
    with at_rest(model):
        errors = []
        for images, labels in chunks(model, split.images, split.labels):
            x = beside(model, to_unit(images))
            rebuilt = model.reconstruct(x, labels)
            errors.append((rebuilt - x).square().flatten(1).sum(1))
    return mean_and_error(torch.cat(errors))
