"""What the series measures, the same way for every model."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cvae_utils.checks import NUM_CLASSES, check_at_least
from cvae_utils.data import Split, fixed_binarization, to_unit
from cvae_utils.models import Classifier, ConditionalVAE
from cvae_utils.objectives import elbo_terms

CHUNK = 1000  # examples at a time: bounds the memory


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
    device = _device(classifier)
    read = classifier.read(to_unit(split.images.to(device)))
    return wilson(int((read == split.labels.to(device)).sum()), len(split))
