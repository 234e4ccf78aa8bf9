"""What the series measures, the same way for every model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cvae_utils.checks import NUM_CLASSES, check_at_least
from cvae_utils.data import Split, fixed_binarization, to_unit
from cvae_utils.masks import check_mask, hide
from cvae_utils.models import Classifier, ConditionalVAE, Gaussian, InpaintingCVAE
from cvae_utils.objectives import (
    elbo_terms,
    gaussian_kl,
    importance_weighted_bound,
    log_importance_weights,
)

CHUNK = 1000  # images or codes at a time: bounds the memory


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


class NegativeLogLikelihood(NamedTuple):
    """An estimate of -log p(x | c), in nats per image, that is too high rather than too low.

    Attributes:
        value: the mean over the images.
        standard_error: of `value`, over the images.
    """

    value: float
    standard_error: float


class HoleScores(NamedTuple):
    """How well the hidden pixels of a split are filled.

    Attributes:
        squared_error: number of completions -> squared error of the best of them, summed over the
            hidden pixels, mean per image.
        spread: standard deviation of a hidden pixel over the completions, mean of all.
        read_sampled: how often the classifier reads a filled image (its first completion) as its
            label.
        read_mean: the same of the image filled from the mean of p(z | c), one best guess.
        read_original: the same of the whole image.
        read_unfilled: the same of the image with its hidden pixels left empty.
    """

    squared_error: dict[int, float]
    spread: float
    read_sampled: Share
    read_mean: Share
    read_original: Share
    read_unfilled: Share


class Share(NamedTuple):
    """A share of successes with its 95 % Wilson interval, all between 0 and 1."""

    value: float
    low: float
    high: float


def _noise_source(device: torch.device, seed: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device


def wilson(successes: int, trials: int) -> Share:
    """Return a share with its 95 % interval (Wilson 1927), which stays sensible near 1.

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    check_at_least("trials", trials, 1)
    check_at_least("successes", successes, 0)
    if successes > trials:
        raise ValueError(f"successes must be at most trials = {trials}, got {successes}")
    z = 1.959964  # the normal distribution's 97.5 % point
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    spread = math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    half = z * spread / (1 + z * z / trials)
    return Share(share, max(0.0, middle - half), min(1.0, middle + half))


@torch.no_grad()
def elbo(model: ConditionalVAE, split: Split, seed: int = 0) -> Elbo:
    """Measure the ELBO on a split that is binarized by sampling with a fixed seed.

    Args:
        model: any autoencoder of the series.
        split: uint8 images and labels.
        seed: decides the binarization (the same on every machine) and the one draw of z.
    """
    model.eval()
    device = _device(model)
    noise = _noise_source(device, seed)
    x = fixed_binarization(split.images, seed)
    costs = [
        torch.stack(elbo_terms(model, part.to(device), labels.to(device), noise))
        for part, labels in zip(x.split(CHUNK), split.labels.split(CHUNK), strict=True)
    ]
    reconstruction, kl = torch.cat(costs, dim=1).double().cpu()
    total = reconstruction + kl
    error = total.std().item() / math.sqrt(len(total)) if len(total) > 1 else math.nan
    return Elbo(total.mean().item(), reconstruction.mean().item(), kl.mean().item(), error)


def negative_log_likelihood(
    model: ConditionalVAE, split: Split, samples: Sequence[int] = (500,), seed: int = 0
) -> dict[int, NegativeLogLikelihood]:
    """Estimate -log p(x | c) by importance sampling from q(z | x, c) (Burda et al. 2016).

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
    x = fixed_binarization(split.images, seed)
    return _estimate(model, x, split.labels, samples, seed, "recognition")


def hole_nll(
    model: InpaintingCVAE,
    split: Split,
    mask: Tensor,
    samples: Sequence[int] = (100,),
    seed: int = 0,
    proposal: str = "recognition",
) -> dict[int, NegativeLogLikelihood]:
    """Estimate -log p(hidden pixels | visible ones), the conditional log-likelihood of a hole.

    The protocol of Sohn et al. (2015): grey values are taken as Bernoulli probabilities, and only
    hidden pixels count.

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
    x = to_unit(split.images)
    return _estimate(model, x, hide(x, mask), samples, seed, proposal)


@torch.no_grad()
def hole_scores(
    model: InpaintingCVAE,
    classifier: Classifier,
    split: Split,
    mask: Tensor,
    completions: Sequence[int] = (1, 10, 100),
    seed: int = 0,
) -> HoleScores:
    """Fill a hole in every image of a split, in several ways, and score what stands in it.

    Args:
        model: an inpainting model.
        classifier: reads the images.
        split: uint8 images and labels.
        mask: (28, 28), 1 where visible.
        completions: how many completions the best is chosen from; the largest is drawn.
        seed: decides the codes.
    """
    if not completions:
        raise ValueError("completions must name one or more numbers, got none")
    for count in completions:
        check_at_least("completions", count, 1)
    model.eval()
    device, most = _device(model), max(completions)
    noise = _noise_source(device, seed)
    hidden = ~check_mask("mask", mask).to(device)
    x = to_unit(split.images)
    best: dict[int, list[Tensor]] = {count: [] for count in completions}
    spreads, sampled, at_mean = [], [], []
    for part in x.split(max(1, CHUNK // most)):
        given = hide(part.to(device), mask)  # (B, 2, 28, 28)
        prior: Gaussian = model.prior_net(model.condition(given))
        at_mean.append(model.generate(prior.mu, given).cpu())
        drawn = model.sample(given.repeat_interleave(most, dim=0), noise).view(
            len(part), most, *part.shape[1:]
        )
        errors = (drawn - part.to(device)[:, None])[:, :, hidden].square().sum(2)  # (B, most)
        for count, rows in best.items():
            rows.append(errors[:, :count].min(dim=1).values)
        spreads.append(drawn[:, :, hidden].std(dim=1, correction=0).mean(1))
        sampled.append(drawn[:, 0].cpu())
    empty = torch.where(hidden.cpu(), 0.0, x)
    shown = (torch.cat(sampled), torch.cat(at_mean), x, empty)
    shares = [_read(classifier, images, split.labels) for images in shown]
    errors_of_best = {count: torch.cat(rows).mean().item() for count, rows in best.items()}
    return HoleScores(errors_of_best, torch.cat(spreads).mean().item(), *shares)


def _read(classifier: Classifier, images: Tensor, labels: Tensor) -> Share:
    read = classifier.read(images.to(_device(classifier))).cpu()
    return wilson(int((read == labels.cpu()).sum()), len(labels))


@torch.no_grad()
def _estimate(
    model: ConditionalVAE,
    x: Tensor,
    given: Tensor,
    samples: Sequence[int],
    seed: int,
    proposal: str,
) -> dict[int, NegativeLogLikelihood]:
    if not samples:
        raise ValueError("samples must name one or more numbers of codes, got none")
    for count in samples:
        check_at_least("samples", count, 1)
        if max(samples) % count:
            raise ValueError(f"samples must each divide the largest, {max(samples)}, got {count}")
    model.eval()
    device = _device(model)
    noise = _noise_source(device, seed)
    images_at_once = max(1, CHUNK // max(samples))
    bounds: dict[int, list[Tensor]] = {count: [] for count in samples}
    for part, told in zip(x.split(images_at_once), given.split(images_at_once), strict=True):
        log_weights = log_importance_weights(
            model, part.to(device), told.to(device), max(samples), noise, proposal=proposal
        )
        for count, rows in bounds.items():
            groups = log_weights.view(len(part), -1, count)  # (B, K) -> (B, K / count, count)
            rows.append(importance_weighted_bound(groups).mean(1))
    estimates = {}
    for count, rows in bounds.items():
        nats = -torch.cat(rows).double().cpu()
        error = nats.std().item() / math.sqrt(len(nats)) if len(nats) > 1 else math.nan
        estimates[count] = NegativeLogLikelihood(nats.mean().item(), error)
    return estimates


@torch.no_grad()
def posterior_codes(model: ConditionalVAE, split: Split, seed: int = 0) -> Tensor:
    """Draw one code z from q(z | x, c) per image of a split, (N, latent_dim) on the CPU.

    The images are the same binarized ones as in `elbo`.
    """
    model.eval()
    device = _device(model)
    noise = _noise_source(device, seed)
    x = fixed_binarization(split.images, seed)
    codes = [
        model.recognize(part.to(device), labels.to(device)).sample(noise)
        for part, labels in zip(x.split(CHUNK), split.labels.split(CHUNK), strict=True)
    ]
    return torch.cat(codes).cpu()


@torch.no_grad()
def kl_per_dimension(model: ConditionalVAE, split: Split, seed: int = 0) -> Tensor:
    """Measure KL(q(z | x, c) || p(z | c)) for each latent dimension.

    Returns:
        (latent_dim,) nats, mean per image, on the CPU. A dimension near zero says nothing.
    """
    model.eval()
    device = _device(model)
    x = fixed_binarization(split.images, seed)
    total = torch.zeros(model.latent_dim, device=device)
    for part, labels in zip(x.split(CHUNK), split.labels.split(CHUNK), strict=True):
        q = model.recognize(part.to(device), labels.to(device))
        p = model.prior_net(model.condition(labels.to(device)))
        total += gaussian_kl(q, p).sum(0)
    return (total / len(split)).cpu()


def label_probe(model: ConditionalVAE, train: Split, test: Split, seed: int = 0) -> Share:
    """Measure how often a linear probe reads the label off a posterior sample of the code.

    A logistic regression is fitted to codes of the training images and scored on codes of the
    test images (Alain & Bengio 2017). Chance is about 10 %: the code then has nothing left to
    say about the label, in a straight line at least.

    Args:
        model: any autoencoder of the series.
        train: what the probe is fitted to.
        test: what it is scored on.
        seed: decides binarization and codes.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and rarely needed
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    # Noise of its own for each split: the probe must not meet the same draws again.
    probe.fit(posterior_codes(model, train, seed + 1).numpy(), train.labels.cpu().numpy())
    read = probe.predict(posterior_codes(model, test, seed).numpy())
    return wilson(int((read == test.labels.cpu().numpy()).sum()), len(test))


@torch.no_grad()
def sample_labels(model: ConditionalVAE, per_label: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw `per_label` images for each of the ten labels from the prior.

    Returns:
        Ink probabilities (10 per_label, 28, 28) and the labels asked for (10 per_label,), the
        zeros first.
    """
    check_at_least("per_label", per_label, 1)
    model.eval()
    device = _device(model)
    noise = _noise_source(device, seed)
    labels = torch.arange(NUM_CLASSES, device=device).repeat_interleave(per_label)
    images = torch.cat([model.sample(part, noise) for part in labels.split(CHUNK)])
    return images, labels


def label_faithfulness(
    model: ConditionalVAE, classifier: Classifier, per_label: int = 1000, seed: int = 0
) -> Share:
    """Measure how often the classifier reads a sample as the label that was asked for.

    For a model that does not know labels this is about 10 %, by chance.
    """
    images, labels = sample_labels(model, per_label, seed)
    correct = int((classifier.read(images) == labels).sum())
    return wilson(correct, len(labels))


def accuracy(classifier: Classifier, split: Split) -> Share:
    """Measure how often the classifier reads a real digit as its label."""
    return _read(classifier, to_unit(split.images), split.labels)
