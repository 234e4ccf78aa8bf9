"""What generated digits are worth, on cases whose answer is known, and against other libraries."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm  # type: ignore[import-untyped]
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from cvae_utils import data, evaluation
from cvae_utils.evaluation import Reference, SampleScores
from cvae_utils.evaluation.samples import bootstrap, some_of_each_label
from cvae_utils.models import Classifier

PER_LABEL = 50


def balanced(split: data.Split, count: int) -> data.Split:
    some = some_of_each_label(split.labels, count)
    return data.Split(split.images[some], split.labels[some])


@pytest.fixture(scope="module")
def halves() -> tuple[data.Split, data.Split]:
    mnist = data.load(download=False)
    return balanced(mnist.train, PER_LABEL), balanced(mnist.test, PER_LABEL)


@pytest.fixture(scope="module")
def reference(judge: Classifier, halves: tuple[data.Split, data.Split]) -> Reference:
    return Reference(judge, *halves)


@pytest.fixture(scope="module")
def real(reference: Reference) -> SampleScores:
    """The score of the reference itself."""
    return reference.scores(data.to_unit(reference.test.images), reference.test.labels)


@pytest.fixture(scope="module")
def copied(reference: Reference) -> SampleScores:
    """The score of a model that hands out training digits."""
    return reference.scores(data.to_unit(reference.train.images), reference.train.labels)


def features_of_two_gaussians() -> tuple[Tensor, Tensor]:
    noise = torch.Generator().manual_seed(0)
    mix = torch.randn(2, 6, 6, generator=noise)
    one, two = torch.randn(2, 400, 6, generator=noise)
    return one @ mix[0], two @ mix[1] + 0.5


# ---------------------------------------------------------------- against other libraries


def test_the_frechet_distance_is_the_formula_with_scipys_matrix_square_root() -> None:
    one, two = (part.double().numpy() for part in features_of_two_gaussians())
    c1, c2 = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    apart = one.mean(0) - two.mean(0)
    expected = apart @ apart + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    measured = evaluation.frechet_distance(*features_of_two_gaussians())
    assert measured == pytest.approx(expected, rel=1e-3)


def test_the_frechet_distance_of_shifted_features_is_the_squared_shift() -> None:
    one, _ = features_of_two_gaussians()
    assert evaluation.frechet_distance(one, one) == pytest.approx(0, abs=1e-3)
    assert evaluation.frechet_distance(one, one + 2) == pytest.approx(6 * 4, rel=1e-3)


def test_density_and_coverage_are_those_of_a_search_by_scikit_learn() -> None:
    one, two = features_of_two_gaussians()
    two = two[:70]
    search = NearestNeighbors(n_neighbors=4).fit(one.numpy())
    radii = search.kneighbors(one.numpy())[0][:, 3]  # the first is the point itself
    assert np.allclose(evaluation.neighbourhoods(one, k=3), radii, atol=1e-4)
    inside = np.linalg.norm(one.numpy()[:, None] - two.numpy()[None], axis=2) < radii[:, None]
    assert 0 < inside.any(1).mean() < 1  # or this would be no test
    found = evaluation.density_and_coverage(one, torch.from_numpy(radii), two, k=3)
    assert np.allclose(found.density, inside.sum(0) / 3)
    assert np.array_equal(found.covered, inside.any(1))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = features_of_two_gaussians()
    radii = evaluation.neighbourhoods(one)
    whole = evaluation.density_and_coverage(one, radii, two)
    images = torch.rand(2, 30, 28, 28, generator=torch.Generator().manual_seed(0))
    near = evaluation.nearest(*images)
    monkeypatch.setattr(evaluation.samples, "CHUNK", 28)
    assert torch.allclose(evaluation.neighbourhoods(one), radii)
    parts = evaluation.density_and_coverage(one, radii, two)
    assert torch.equal(parts.density, whole.density)
    assert torch.equal(parts.covered, whole.covered)
    assert torch.equal(evaluation.nearest(*images).position, near.position)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_judge_of_another_precision_says_much_the_same(
    judge: Classifier, copied: SampleScores, halves: tuple[data.Split, data.Split],
    dtype: torch.dtype,
) -> None:  # fmt: skip
    train, test = halves
    other = Reference(copy.deepcopy(judge).to(dtype), train, test)
    scores = other.scores(data.to_unit(train.images), train.labels)
    assert scores.faithfulness.value == pytest.approx(copied.faithfulness.value, abs=0.01)
    assert scores.density.value == pytest.approx(copied.density.value, rel=0.05)
    assert scores.coverage.value == pytest.approx(copied.coverage.value, abs=0.02)
    assert scores.frechet.value == pytest.approx(copied.frechet.value, rel=0.05)


def test_the_nearest_is_nearer_than_all_others_however_dark_they_are(digits: data.Split) -> None:
    some, others = data.to_unit(digits.images).split([20, 80])
    distances = (some[:, None] - others).flatten(2).norm(dim=2)  # (20, 80)
    found = evaluation.nearest(some, others)
    assert torch.equal(found.position, distances.argmin(1))
    torch.testing.assert_close(found.distance, distances.amin(1))


def test_the_nearest_image_is_found_with_its_distance() -> None:
    images = torch.rand(40, 28, 28, generator=torch.Generator().manual_seed(0))
    changed = images[[31, 4]].clone()
    changed[0, 5, 5] += 0.25
    found = evaluation.nearest(changed, images)
    assert found.position.tolist() == [31, 4]
    assert found.distance[0].item() == pytest.approx(0.25, abs=1e-2)
    assert found.distance[1].item() == pytest.approx(0, abs=1e-2)


def test_the_bootstrap_error_of_a_mean_is_the_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation.samples, "REPEATS", 400)
    values = torch.randn(900, generator=torch.Generator().manual_seed(0))
    estimate = bootstrap(
        lambda part: part.mean().item(), values, torch.zeros(900, dtype=torch.int64)
    )
    assert estimate.value == pytest.approx(values.mean().item())
    assert estimate.standard_error == pytest.approx(values.std().item() / 30, rel=0.15)


def test_the_bootstrap_leaves_the_number_of_each_label_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation.samples, "REPEATS", 400)
    labels = torch.arange(3).repeat_interleave(torch.tensor([500, 300, 100]))
    within = torch.randn(900, generator=torch.Generator().manual_seed(0))
    far_apart = within + 100 * labels
    estimate = bootstrap(lambda part: part.mean().item(), far_apart, labels)
    assert estimate.standard_error == pytest.approx(within.std().item() / 30, rel=0.15)
    kept = bootstrap(lambda part: float((part > 250).sum()), far_apart, labels)
    assert kept.value == kept.standard_error == 0
    last = bootstrap(lambda part: float((part > 150).sum()), far_apart, labels)
    assert last.value == 100
    assert last.standard_error == 0


def test_some_of_each_label_are_chosen_at_random_and_label_by_label() -> None:
    labels = torch.arange(10).repeat(100)
    some = some_of_each_label(labels, 20)
    assert labels[some].tolist() == sorted(list(range(10)) * 20)
    assert len(some.unique()) == 200
    assert 400 < some.double().mean() < 600  # of 0 to 999: the first ones would have about 100
    assert torch.equal(some, some_of_each_label(labels, 20))
    assert not torch.equal(some, some_of_each_label(labels, 20, seed=1))
    assert len(some_of_each_label(labels[:15], 20)) == 15


# ---------------------------------------------------------------- known answers


def test_real_digits_against_themselves(real: SampleScores, reference: Reference) -> None:
    assert real.frechet.value == pytest.approx(0, abs=1e-2)
    assert real.coverage.value == real.coverage_any_label.value == 1
    assert real.nearest == pytest.approx(1)
    # Each digit lies in its own neighbourhood and in k others, more or less.
    assert 1 < real.density.value < 1.5
    correct = evaluation.accuracy(reference.judge, reference.test)
    assert real.faithfulness == correct


def test_training_digits_that_are_handed_out_are_found_to_be_copies(
    copied: SampleScores, real: SampleScores
) -> None:
    assert copied.nearest == pytest.approx(0, abs=1e-2)
    assert copied.faithfulness.value > 0.97
    # They are real digits, but others: the floor of what a perfect model reaches.
    assert 0.6 < copied.coverage.value < 1
    assert copied.frechet.value > real.frechet.value
    assert copied.frechet_per_label.shape == copied.coverage_per_label.shape == (10,)


def test_copies_are_found_behind_the_first_image_of_a_label(reference: Reference) -> None:
    images = data.to_unit(reference.train.images)
    noise = torch.rand(10, 28, 28, generator=torch.Generator().manual_seed(0))
    images[some_of_each_label(reference.train.labels, 1)] = noise
    assert reference.scores(images, reference.train.labels).nearest == pytest.approx(0, abs=1e-2)


def test_features_as_large_as_are_let_through_have_finite_neighbourhoods() -> None:
    directions = torch.randn(20, 128, generator=torch.Generator().manual_seed(0)).sign()
    assert evaluation.neighbourhoods(directions * 9.9e14).isfinite().all()
    with pytest.raises(ValueError, match=r"^real must be .* none of them beyond 1e\+15, got 20 "):
        evaluation.neighbourhoods(directions * 1e16)


def test_among_training_digits_nothing_can_be_said_about_copies(
    reference: Reference, copied: SampleScores
) -> None:
    known = Reference(reference.judge, reference.train, reference.train)
    scores = known.scores(data.to_unit(reference.test.images), reference.test.labels)
    assert math.isnan(scores.nearest)


def test_noise_is_read_by_chance_and_covers_nothing(reference: Reference) -> None:
    labels = reference.test.labels
    noise = torch.rand(len(labels), 28, 28, generator=torch.Generator().manual_seed(0))
    scores = reference.scores(noise, labels)
    assert scores.faithfulness.value < 0.2
    assert scores.coverage.value < 0.01
    assert scores.coverage_any_label.value < 0.01
    assert scores.density.value < 0.01
    assert scores.nearest > 1.5


def test_shuffled_labels_are_seen_within_labels_alone(
    reference: Reference, copied: SampleScores
) -> None:
    train = reference.train
    scores = reference.scores(data.to_unit(train.images), train.labels.roll(PER_LABEL))
    assert scores.faithfulness.value < 0.03  # every digit is asked for as its neighbour
    assert scores.coverage.value < 0.1
    assert scores.coverage_any_label == copied.coverage_any_label
    assert scores.frechet.value == pytest.approx(copied.frechet.value, rel=1e-3)
    assert (scores.frechet_per_label > 2 * copied.frechet_per_label).all()


def test_one_perfect_digit_of_each_label_does_not_win(
    reference: Reference, copied: SampleScores
) -> None:
    first = some_of_each_label(reference.train.labels, 1).repeat_interleave(PER_LABEL)
    images = data.to_unit(reference.train.images)[first]
    scores = reference.scores(images, reference.train.labels[first])
    assert scores.faithfulness.value >= 0.9  # each read as asked
    assert scores.coverage.value < 0.4 * copied.coverage.value
    assert scores.frechet.value > 2 * copied.frechet.value


def test_scores_have_a_figure_for_every_name(real: SampleScores) -> None:
    figures = evaluation.report.sample_figures(real)
    assert all(math.isfinite(value) for value in figures.values())
    assert figures["coverage_low"] < figures["coverage"] <= figures["coverage_high"]


# ---------------------------------------------------------------- what is refused


def test_features_that_do_not_fit_are_refused() -> None:
    one, two = features_of_two_gaussians()
    with pytest.raises(ValueError, match=r"drawn must be .*\(N, 6\), got .*\(400, 5\)"):
        evaluation.frechet_distance(one, two[:, :5])
    with pytest.raises(ValueError, match=r"real must be .*two examples or more.* got 1 "):
        evaluation.frechet_distance(one[:1], two)
    with pytest.raises(ValueError, match="drawn must be a finite"):
        evaluation.frechet_distance(one, two / 0)
    with pytest.raises(ValueError, match="real must hold more than k = 5 examples, got 5"):
        evaluation.neighbourhoods(one[:5])
    with pytest.raises(ValueError, match=r"radii must be .*\(400,\), got .*\(3,\)"):
        evaluation.density_and_coverage(one, torch.ones(3), two)


def test_images_that_are_none_are_refused(reference: Reference) -> None:
    labels = reference.test.labels
    with pytest.raises(ValueError, match="images"):
        reference.scores(torch.full((len(labels), 28, 28), 2.0), labels)
    with pytest.raises(ValueError, match="labels"):
        reference.scores(torch.zeros(len(labels), 28, 28), labels[:-1])
