"""What stands in a filled hole: errors, variety, and whether the digit can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cvae_utils.checks import check_all_at_least, check_is
from cvae_utils.data import Split, to_unit
from cvae_utils.evaluation.chunks import check_measured, chunks, device_of, noise_source
from cvae_utils.evaluation.estimates import Share, share_read
from cvae_utils.masks import check_one_mask, hide
from cvae_utils.models import Classifier, Gaussian, InpaintingCVAE
from cvae_utils.models.base import at_rest, check_same_classes


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

    Raises:
        ValueError: a mask of another shape, or one that hides nothing; no number of completions.
    """
    check_measured(model, InpaintingCVAE, split, seed)
    check_is("classifier", classifier, Classifier)
    check_same_classes("split", split.num_classes, classifier)
    completions = check_all_at_least("completions", completions, 1)
    hidden = ~check_one_mask("mask", mask)
    if not hidden.any():
        raise ValueError("mask must hide a pixel at least, got one that hides none")
    with at_rest(model):
        device, most = device_of(model), max(completions)
        noise = noise_source(device, seed)
        hidden = hidden.to(device)
        x = to_unit(split.images)
        best: dict[int, list[Tensor]] = {count: [] for count in completions}
        spreads, sampled, at_mean = [], [], []
        for (part,) in chunks(model, x, codes=most):
            given = hide(part, mask)  # (B, 2, 28, 28)
            prior: Gaussian = model.prior_net(model.condition(given))
            at_mean.append(model.generate(prior.mu, given).cpu())
            drawn = model.sample(given.repeat_interleave(most, dim=0), noise).view(
                len(part), most, *part.shape[1:]
            )
            errors = (drawn - part[:, None])[:, :, hidden].square().sum(2)  # (B, most)
            for count, rows in best.items():
                rows.append(errors[:, :count].min(dim=1).values)
            spreads.append(drawn[:, :, hidden].std(dim=1, correction=0).mean(1))
            sampled.append(drawn[:, 0].clone().cpu())  # a view would keep all of `drawn`
    empty = torch.where(hidden.to(x.device), 0.0, x)
    shown = (torch.cat(sampled), torch.cat(at_mean), x, empty)
    shares = [share_read(classifier, images, split.labels) for images in shown]
    errors_of_best = {count: torch.cat(rows).mean().item() for count, rows in best.items()}
    return HoleScores(errors_of_best, torch.cat(spreads).mean().item(), *shares)
