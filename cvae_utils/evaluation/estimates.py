"""Figures with their uncertainty, and how often the judge reads an image as its label."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from cvae_utils.checks import (
    check_at_least,
    check_floats,
    check_is,
    check_labels,
    check_unit_images,
)
from cvae_utils.data import Split, to_unit
from cvae_utils.evaluation.chunks import beside
from cvae_utils.models import Classifier
from cvae_utils.models.base import check_same_classes


class Estimate(NamedTuple):
    """A figure with its standard error."""

    value: float
    standard_error: float


class Share(NamedTuple):
    """A share of successes with its 95 % Wilson interval, all between 0 and 1."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Share:
    """Return a share with its 95 % interval (Wilson 1927), which stays sensible near 1.

    Raises:
        ValueError: no trials, or more successes than trials.
    """
    trials = check_at_least("trials", trials, 1)
    successes = check_at_least("successes", successes, 0)
    if successes > trials:
        raise ValueError(f"successes must be at most trials = {trials}, got {successes}")
    z = 1.959964  # the normal distribution's 97.5 % point
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    spread = math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    half = z * spread / (1 + z * z / trials)
    return Share(share, max(0.0, middle - half), min(1.0, middle + half))


def mean_and_error(values: Tensor) -> Estimate:
    """Return the mean of values (N,), and its standard error: nan for a single one."""
    check_floats("values", values, "N", finite=True)
    values = values.double().cpu()
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(values.mean().item(), error)


def share_read(classifier: Classifier, images: Tensor, labels: Tensor) -> Share:
    """Measure how often the classifier reads images (N, 28, 28) as their labels (N,)."""
    check_is("classifier", classifier, Classifier)
    check_unit_images("images", images)
    check_labels("labels", labels, len(images), num_classes=classifier.num_classes)
    read = classifier.read(beside(classifier, images)).cpu()
    return wilson(int((read == labels.cpu()).sum()), len(labels))


def accuracy(classifier: Classifier, split: Split) -> Share:
    """Measure how often the classifier reads a real digit as its label."""
    check_is("classifier", classifier, Classifier)
    check_is("split", split, Split)
    check_same_classes("split", split.num_classes, classifier)
    return share_read(classifier, to_unit(split.images), split.labels)
