"""What generated digits are worth: read as asked, like real ones, varied, not copied."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cvae_utils.checks import (
    IMAGE_SHAPE,
    NUM_CLASSES,
    check_at_least,
    check_beside,
    check_floats,
    check_function,
    check_is,
    check_labels,
    check_unit_images,
)
from cvae_utils.data import Split, to_unit
from cvae_utils.evaluation.chunks import CHUNK, beside, device_of, noise_source
from cvae_utils.evaluation.estimates import Estimate, Share, mean_and_error, share_read, wilson
from cvae_utils.models import Classifier, ConditionalGenerator
from cvae_utils.models.base import at_rest, check_model, check_same_classes

NEIGHBOURS = 5  # k of density and coverage, as in Naeem et al. (2020)
REPEATS = 30  # of the bootstrap
LARGEST = 1e15  # of a feature: the squares of a thousand such differences add up in 32 bits
LOOKED_UP = 100  # samples of each label whose nearest training digit is looked for


@torch.no_grad()
def sample_labels(
    model: ConditionalGenerator, per_label: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Draw `per_label` images for each of the model's labels from the prior.

    Returns:
        Ink probabilities (num_classes per_label, 28, 28) and the labels asked for
        (num_classes per_label,), the zeros first.
    """
    check_model("model", model, ConditionalGenerator)
    per_label = check_at_least("per_label", per_label, 1)
    device = device_of(model)
    noise = noise_source(device, seed)
    labels = torch.arange(model.num_classes, device=device).repeat_interleave(per_label)
    with at_rest(model):
        images = torch.cat([model.sample(part, noise) for part in labels.split(CHUNK)])
    return images, labels


def label_faithfulness(
    model: ConditionalGenerator, classifier: Classifier, per_label: int = 1000, seed: int = 0
) -> Share:
    """Measure how often the classifier reads a sample as the label that was asked for.

    For a model that does not know labels this is one in num_classes, by chance.
    """
    check_model("model", model, ConditionalGenerator)
    check_is("classifier", classifier, Classifier)
    check_same_classes("classifier", classifier.num_classes, model)
    return share_read(classifier, *sample_labels(model, per_label, seed))


def features(judge: Classifier, images: Tensor) -> Tensor:
    """Return what the judge's last hidden layer makes of images (N, 28, 28), (N, 128).

    They are moved to the judge's device; the features stay on the CPU, in 32 bits or more.
    """
    check_is("judge", judge, Classifier)
    check_unit_images("images", images)
    return _exact(judge.describe(beside(judge, images)).cpu())


def frechet_distance(real: Tensor, drawn: Tensor) -> float:
    """Return the Fréchet distance of two sets of features (N, F) and (M, F).

    Squared, and between the two Gaussians of the sets' means and covariances (Heusel et al. 2017).
    Usually the features are those of Inception on photographs; those of a network that reads
    digits tell digits apart. The fewer examples, the higher: compare sets of the same size.

    Raises:
        ValueError: features of unequal or no width, or fewer than two examples in a set.
    """
    _check_features("real", real)
    _check_features("drawn", drawn, real)
    return _frechet_distance_to(real)(drawn)


def _frechet_distance_to(real: Tensor) -> Callable[[Tensor], float]:
    """Return what measures the Fréchet distance to real features, which are taken in once."""
    # Slow to import, and rarely needed.
    from torchmetrics.image.fid import FrechetInceptionDistance

    as_they_are = nn.Identity()
    as_they_are.num_features = real.shape[1]  # type: ignore[assignment]
    metric = FrechetInceptionDistance(as_they_are, reset_real_features=False).to(real.device)
    metric.update(real, real=True)

    def distance(drawn: Tensor) -> float:
        metric.reset()
        metric.update(drawn, real=False)
        squared: float = metric.compute().item()
        return max(0.0, squared)  # rounding may leave it just below

    return distance


class Diversity(NamedTuple):
    """Density and coverage (Naeem et al. 2020) of drawn among real features.

    Attributes:
        density: (M,) for each drawn example the number of real neighbourhoods that it lies in,
            divided by k. Its mean is about 1 for real data, and above 1 for a model that keeps to
            the crowded middle.
        covered: (N,) bool, for each real example whether a drawn one lies in its neighbourhood.
            The share of them is the coverage, at most 1; one perfect digit covers hardly any.
    """

    density: Tensor
    covered: Tensor


def neighbourhoods(real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Return the distance of each example (N, F) to its k-th nearest neighbour, (N,).

    Raises:
        ValueError: no more than k examples, or k below 1.
    """
    k = check_at_least("k", k, 1)
    _check_features("real", real)
    if len(real) <= k:
        raise ValueError(f"real must hold more than k = {k} examples, got {len(real)}")
    real = _exact(real)
    # The nearest of all is the example itself.
    radii = [torch.cdist(part, real).kthvalue(k + 1, dim=1).values for part in real.split(CHUNK)]
    return torch.cat(radii)


def density_and_coverage(
    real: Tensor, radii: Tensor, drawn: Tensor, k: int = NEIGHBOURS
) -> Diversity:
    """Find which drawn examples (M, F) lie in the neighbourhoods of which real ones (N, F).

    Features that lie farther from zero than from one another, by a factor of a hundred, need 64
    bits: `torch.cdist` multiplies squared distances out, as `nearest` does, and rounds.

    Args:
        real: features of real digits.
        radii: of their neighbourhoods, as `neighbourhoods` returns them.
        drawn: features of the digits to be measured.
        k: what the radii were computed with.

    Raises:
        ValueError: features of unequal width, not one radius for each real example, k below 1.
    """
    k = check_at_least("k", k, 1)
    _check_features("real", real)
    _check_features("drawn", drawn, real)
    check_floats("radii", radii, len(real), finite=True)
    if not (radii >= 0).all():
        raise ValueError(f"radii must not be negative, got {radii.min():g}")
    real, drawn = _exact(real), _exact(drawn)
    density, covered = torch.zeros(len(drawn), device=drawn.device), []
    for part, radius in zip(real.split(CHUNK), radii.split(CHUNK), strict=True):
        inside = torch.cdist(part, drawn) < radius[:, None]  # (N', M)
        density += inside.sum(0)
        covered.append(inside.any(1))
    return Diversity(density / k, torch.cat(covered))


class Nearest(NamedTuple):
    """The nearest of many images, for each of some.

    Attributes:
        distance: (M,) Euclidean, in units of one full pixel.
        position: (M,) which one.
    """

    distance: Tensor
    position: Tensor


def nearest(images: Tensor, among: Tensor) -> Nearest:
    """Find for each image (M, 28, 28) the nearest one among (N, 28, 28), pixel by pixel."""
    check_floats("images", images, "M", *IMAGE_SHAPE, finite=True)
    check_floats("among", among, "N", *IMAGE_SHAPE, finite=True)
    check_beside("among", among, images, "images")
    some, all_of_them = _exact(images.flatten(1)), _exact(among.flatten(1))
    # |a - b|^2 = |a|^2 - 2 (a b - |b|^2 / 2), and |a| is the same for every b.
    halves = -0.5 * all_of_them.square().sum(1)  # (N,)
    found = [
        torch.addmm(halves, part, all_of_them.T).argmax(dim=1) for part in some.split(CHUNK // 4)
    ]
    position = torch.cat(found)
    return Nearest((some - all_of_them[position]).norm(dim=1), position)


class SampleScores(NamedTuple):
    """What a set of labelled images is worth beside real ones.

    Attributes:
        faithfulness: share of images that the judge reads as the label asked for.
        frechet: Fréchet distance to the real test digits, labels aside.
        frechet_per_label: (num_classes,) the same within each label; higher, since labels that
            are swapped or off in opposite ways no longer cancel, and for want of examples.
        density: mean over the images, each within its label.
        coverage: share of the real test digits that are covered by images of their label. Its
            interval counts them as if each were covered by itself: other images of the same model
            move the share by as much again.
        coverage_per_label: (num_classes,) the same within each label.
        coverage_any_label: share of the real test digits that are covered by any image.
        nearest: median distance to the nearest training digit, over that of real test digits;
            0 for copies, about 1 for new digits, nan where the test digits are training digits.
    """

    faithfulness: Share
    frechet: Estimate
    frechet_per_label: Tensor
    density: Estimate
    coverage: Share
    coverage_per_label: Tensor
    coverage_any_label: Share
    nearest: float


class Reference:
    """Real digits as the judge sees them, against which generated ones are scored.

    What takes time is done once, when it is first wanted: features, neighbourhoods, and the
    distance of test digits to the nearest training digit.

    Args:
        judge: reads the digits, and makes features of them.
        train: what the models learned from, the place to look for copies.
        test: real digits that they have not seen.

    Raises:
        ValueError: splits and judge of different numbers of classes.
    """

    def __init__(self, judge: Classifier, train: Split, test: Split) -> None:
        check_is("judge", judge, Classifier)
        check_is("train", train, Split)
        check_is("test", test, Split)
        check_same_classes("train", train.num_classes, judge)
        check_same_classes("test", test.num_classes, judge)
        self.judge, self.train, self.test = judge, train, test
        self.num_classes = judge.num_classes
        self.labels = test.labels.cpu()

    @cached_property
    def features(self) -> Tensor:
        """(N, F) of the test digits."""
        return features(self.judge, to_unit(self.test.images))

    @cached_property
    def radii(self) -> Tensor:
        """(N,) of the test digits' neighbourhoods, labels aside."""
        return neighbourhoods(self.features)

    @cached_property
    def radii_within_label(self) -> Tensor:
        """(N,) the same among the digits of one's own label."""
        radii = self.features.new_zeros(len(self.labels))
        for label in range(self.num_classes):
            own = self.labels == label
            radii[own] = neighbourhoods(self.features[own])
        return radii

    @cached_property
    def training_images(self) -> Tensor:
        """(N, 28, 28), where copies are looked for."""
        return to_unit(self.train.images).cpu()

    @cached_property
    def distance(self) -> float:
        """Median distance of a test digit to the nearest training digit."""
        some = some_of_each_label(self.labels, LOOKED_UP, self.num_classes)
        return self._to_training(to_unit(self.test.images).cpu()[some])

    def _to_training(self, images: Tensor) -> float:
        return nearest(images, self.training_images).distance.median().item()

    def scores(self, images: Tensor, labels: Tensor) -> SampleScores:
        """Score images (M, 28, 28) in [0, 1] that were asked for by labels (M,).

        Raises:
            ValueError: fewer than two images of a label, or fewer than six test digits.
        """
        check_unit_images("images", images)
        check_labels("labels", labels, len(images), num_classes=self.num_classes)
        _check_each_label("labels", labels, 2, self.num_classes)
        _check_each_label("test", self.labels, NEIGHBOURS + 1, self.num_classes)
        images, labels = images.cpu().float(), labels.cpu()
        drawn = features(self.judge, images)
        with torch.no_grad():
            read = self.judge.head(beside(self.judge, drawn)).argmax(1).cpu()
        density = torch.zeros(len(images))
        covered = torch.zeros(len(self.labels), dtype=torch.bool)
        frechet, coverage = torch.zeros(self.num_classes), torch.zeros(self.num_classes)
        for label in range(self.num_classes):
            real, asked = self.labels == label, labels == label
            within = density_and_coverage(
                self.features[real], self.radii_within_label[real], drawn[asked]
            )
            density[asked], covered[real] = within.density, within.covered
            coverage[label] = within.covered.double().mean()
            frechet[label] = frechet_distance(self.features[real], drawn[asked])
        anywhere = density_and_coverage(self.features, self.radii, drawn).covered
        some = some_of_each_label(labels, LOOKED_UP, self.num_classes)
        return SampleScores(
            faithfulness=wilson(int((read == labels).sum()), len(labels)),
            frechet=bootstrap(_frechet_distance_to(self.features), drawn, labels, self.num_classes),
            frechet_per_label=frechet,
            density=mean_and_error(density),
            coverage=wilson(int(covered.sum()), len(covered)),
            coverage_per_label=coverage,
            coverage_any_label=wilson(int(anywhere.sum()), len(anywhere)),
            nearest=self._to_training(images[some]) / (self.distance or math.nan),
        )


def bootstrap(
    statistic: Callable[[Tensor], float],
    examples: Tensor,
    labels: Tensor,
    num_classes: int = NUM_CLASSES,
    seed: int = 0,
) -> Estimate:
    """Return a statistic of examples (N, ...) and its standard error, by drawing them anew.

    Efron (1979): the spread over sets of N that are drawn from the N with replacement. As many of
    each label (N,) are drawn as there are: how many digits a label has was decided, not drawn, and
    must not add to the spread.
    """
    check_function("statistic", statistic, "examples (N, ...)")
    check_is("examples", examples, Tensor)
    if examples.ndim == 0 or len(examples) == 0:
        raise ValueError(f"examples must be one or more, got shape {tuple(examples.shape)}")
    num_classes = check_at_least("num_classes", num_classes, 2)
    check_labels("labels", labels, len(examples), num_classes=num_classes)
    generator = noise_source(torch.device("cpu"), seed)
    groups = [examples[labels == label] for label in labels.unique()]
    again = [
        statistic(
            torch.cat([g[torch.randint(len(g), (len(g),), generator=generator)] for g in groups])
        )
        for _ in range(REPEATS)
    ]
    return Estimate(statistic(examples), torch.tensor(again, dtype=torch.float64).std().item())


def some_of_each_label(
    labels: Tensor, count: int, num_classes: int = NUM_CLASSES, seed: int = 0
) -> Tensor:
    """Return where `count` of each label stand in labels (N,), chosen at random, label by label.

    The first ones would be no fair sample: MNIST's files are ordered by where their digits are
    from.
    """
    num_classes = check_at_least("num_classes", num_classes, 2)
    check_labels("labels", labels, num_classes=num_classes)
    count = check_at_least("count", count, 1)
    order = torch.randperm(len(labels), generator=noise_source(torch.device("cpu"), seed))
    shuffled = labels.cpu()[order]
    each = [order[shuffled == label][:count] for label in range(num_classes)]
    return torch.cat(each).to(labels.device)


def _check_each_label(name: str, labels: Tensor, least: int, num_classes: int) -> None:
    """Raise unless each label is there `least` times."""
    counts = labels.bincount(minlength=num_classes).tolist()
    if min(counts) < least:
        raise ValueError(
            f"{name} must have each of the labels 0 to {num_classes - 1} {least} times or more, "
            f"got {counts}"
        )


def _exact(numbers: Tensor) -> Tensor:
    """Return numbers in 32 bits or more: distances are not to be had of 16."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def _check_features(name: str, features: Tensor, other: Tensor | None = None) -> None:
    """Raise unless these are features (N, F) of two examples or more, like `other`, if any."""
    check_floats(name, features, "N", "F" if other is None else other.shape[1], finite=True)
    if len(features) < 2 or not (features.abs() < LARGEST).all():
        raise ValueError(
            f"{name} must be features of two examples or more, none of them beyond {LARGEST:g}, "
            f"got {len(features)} up to {features.abs().max():g}"
        )
    if other is not None:
        check_beside(name, features, other, "real")
