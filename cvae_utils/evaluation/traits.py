"""What a latent dimension seems to change: traits of drawn digits that a ruler can measure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cvae_utils.checks import (
    IMAGE_SHAPE,
    check_all_at_least,
    check_at_least,
    check_number,
    check_positive,
    check_unit_images,
)
from cvae_utils.data import Split
from cvae_utils.evaluation.chunks import device_of, noise_source
from cvae_utils.evaluation.codes import kl_per_dimension
from cvae_utils.models import ConditionalGenerator, ConditionalVAE
from cvae_utils.models.base import at_rest, check_model

# trait -> what less and more of it look like
WORDS = {
    "slant": ("leans left", "leans right"),
    "stroke": ("thinner", "thicker"),
    "width": ("narrower", "wider"),
    "height": ("shorter", "taller"),
}


def traits(images: Tensor) -> dict[str, Tensor]:
    """Measure images (B, 28, 28) in [0, 1], each trait (B,).

    `stroke` is twice the ink over its outline's length, which for a long even stroke, upright or
    level, is its thickness in pixels. (The outline is measured along rows and columns: a slanting
    stroke counts as thinner, by up to a factor of 1.4.) The others come from the second moments of
    the ink, in pixels, or in columns per row (the slant, by which LeCun et al. 1998 deslanted
    digits).

    Raises:
        ValueError: images of another shape or range, or one without ink.
    """
    check_unit_images("images", images)
    # Moments are sums of large numbers, which 16 bits do not hold.
    images = images.to(torch.promote_types(images.dtype, torch.float32))
    ink = images.sum((1, 2))
    if not (ink > 0).all():
        raise ValueError("images must have ink, got an empty one")
    rows, columns = (torch.arange(n, device=images.device, dtype=images.dtype) for n in IMAGE_SHAPE)

    def mean(of: Tensor) -> Tensor:  # over the ink: (28, 28) or (B, 28, 28) -> (B,)
        return (images * of).sum((1, 2)) / ink

    y = rows[:, None] - mean(rows[:, None].expand(IMAGE_SHAPE))[:, None, None]  # (B, 28, 1)
    x = columns - mean(columns.expand(IMAGE_SHAPE))[:, None, None]  # (B, 1, 28)
    vertical = mean(y.square()).clamp(min=1e-6)
    slope = mean(x * y) / vertical  # columns per row
    upright = x - slope[:, None, None] * y  # each row shifted back: the slant is no width
    outline = images.diff(dim=1).abs().sum((1, 2)) + images.diff(dim=2).abs().sum((1, 2))
    return {
        "slant": -slope,  # rows count downwards
        "stroke": 2 * ink / outline.clamp(min=1e-6),
        "width": mean(upright.square()).sqrt(),
        "height": vertical.sqrt(),
    }


@torch.no_grad()
def effects(
    model: ConditionalGenerator, dimension: int, count: int = 20, reach: float = 2.0, seed: int = 0
) -> dict[str, float]:
    """Move codes along one dimension and measure what happens to the digits.

    Args:
        model: one that knows labels.
        dimension: of the latent code.
        count: codes for each label.
        reach: they move from `-reach` to `reach` there.
        seed: decides the codes.

    Returns:
        trait -> its mean change, in standard deviations of that trait among the model's own digits
        of one label.
    """
    check_model("model", model, ConditionalGenerator)
    dimension = check_at_least("dimension", dimension, 0, model.latent_dim - 1)
    count = check_at_least("count", count, 2)
    check_positive("reach", reach)
    with at_rest(model):
        device = device_of(model)
        z = torch.randn(
            count, model.latent_dim, generator=noise_source(device, seed), device=device
        )
        z = z.to(next(model.parameters()))
        z = z.repeat(model.num_classes, 1)  # (num_classes * count, latent_dim)
        labels = torch.arange(model.num_classes, device=device).repeat_interleave(count)
        ends = []
        for place in (-reach, reach):
            moved = z.clone()
            moved[:, dimension] = place
            ends.append(traits(model.generate(moved, labels)))
        usual = traits(model.generate(z, labels))
    low, high = ends
    return {
        trait: float(
            (high[trait] - low[trait]).mean()
            / usual[trait].view(model.num_classes, count).std(dim=1).mean().clamp(min=1e-6)
        )
        for trait in WORDS
    }


def most_used(model: ConditionalVAE, split: Split, count: int) -> dict[int, str]:
    """Name what the latent dimensions do that hold most, the most used first.

    Args:
        model: an autoencoder that knows labels.
        split: handwritten digits, to find out how many nats each dimension holds.
        count: how many are wanted; all, where there are fewer.

    Returns:
        dimension -> what more of it does, as `seems_to_change` says it.
    """
    count = check_at_least("count", count, 1)
    used = kl_per_dimension(model, split).argsort(descending=True)[:count].tolist()
    return seems_to_change(model, used)


def seems_to_change(
    model: ConditionalGenerator, dimensions: Sequence[int], threshold: float = 1.0
) -> dict[int, str]:
    """Name what more of each latent dimension does to the digits, in a word or two.

    The word is that of the trait that changes most, if it changes by more than `threshold` standard
    deviations; otherwise it is "shape", for what these four traits do not measure. A dimension may
    well change several: the word is a hint.
    """
    check_model("model", model, ConditionalGenerator)
    dimensions = check_all_at_least("dimensions", dimensions, 0, model.latent_dim - 1)
    check_number("threshold", threshold, 0)
    named = {}
    for dimension in dimensions:
        changes = effects(model, dimension)
        trait = max(changes, key=lambda trait: abs(changes[trait]))
        less, more = WORDS[trait]
        word = more if changes[trait] > 0 else less
        named[dimension] = word if abs(changes[trait]) > threshold else "shape"
    return named
