"""What a latent code holds: nats in each dimension, and what a probe reads off it."""

from __future__ import annotations

import torch
from torch import Tensor

from cvae_utils.checks import LARGEST_SEED, check_at_least, check_is
from cvae_utils.data import Split, fixed_binarization
from cvae_utils.evaluation.chunks import check_measured, chunks, device_of, noise_source
from cvae_utils.evaluation.estimates import Share, wilson
from cvae_utils.models import ConditionalVAE
from cvae_utils.models.base import at_rest, check_model, check_same_classes
from cvae_utils.objectives import gaussian_kl


@torch.no_grad()
def posterior_codes(model: ConditionalVAE, split: Split, seed: int = 0) -> Tensor:
    """Draw one code z from q(z | x, c) per image of a split, (N, latent_dim) on the CPU.

    The images are the same binarized ones as in `elbo`; the codes have 32 bits or more.
    """
    check_measured(model, ConditionalVAE, split, seed)
    with at_rest(model):
        noise = noise_source(device_of(model), seed)
        x = fixed_binarization(split.images, seed)
        codes = [
            model.recognize(part, labels).float32().sample(noise)
            for part, labels in chunks(model, x, split.labels)
        ]
    return torch.cat(codes).cpu()


@torch.no_grad()
def kl_per_dimension(model: ConditionalVAE, split: Split, seed: int = 0) -> Tensor:
    """Measure KL(q(z | x, c) || p(z | c)) for each latent dimension.

    Returns:
        (latent_dim,) nats, mean per image, on the CPU. A dimension near zero says nothing.
    """
    check_measured(model, ConditionalVAE, split, seed)
    with at_rest(model):
        x = fixed_binarization(split.images, seed)
        total = torch.zeros(model.latent_dim, device=device_of(model))
        for part, labels in chunks(model, x, split.labels):
            p = model.prior_net(model.condition(labels))
            total += gaussian_kl(model.recognize(part, labels), p).sum(0)
    return (total / len(split)).cpu()


def label_probe(model: ConditionalVAE, train: Split, test: Split, seed: int = 0) -> Share:
    """Measure how often a linear probe reads the label off a posterior sample of the code.

    A logistic regression is fitted to codes of the training images and scored on codes of the
    test images (Alain & Bengio 2017). Chance is about 10 % of ten labels: the code then has
    nothing left to say about the label, in a straight line at least.

    Args:
        model: any autoencoder of the series.
        train: what the probe is fitted to.
        test: what it is scored on.
        seed: decides binarization and codes.

    Raises:
        ValueError: training images of a single label, or splits of another number of classes.
    """
    check_is("train", train, Split)
    check_is("test", test, Split)
    check_model("model", model, ConditionalVAE)
    check_same_classes("train", train.num_classes, model)
    check_same_classes("test", test.num_classes, model)
    seed = check_at_least("seed", seed, 0, LARGEST_SEED - 1)
    if len(train.labels.unique()) < 2:
        raise ValueError(f"train must hold two labels or more, got only {train.labels[0]}")
    from sklearn.linear_model import LogisticRegression  # slow to import, and rarely needed
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    # Noise of its own for each split: the probe must not meet the same draws again.
    probe.fit(posterior_codes(model, train, seed + 1).numpy(), train.labels.cpu().numpy())
    read = probe.predict(posterior_codes(model, test, seed).numpy())
    return wilson(int((read == test.labels.cpu().numpy()).sum()), len(test))
