"""The measurements against computations of their own, and the judge against real digits."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import binomtest  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from cvae_utils import data, evaluation, masks
from cvae_utils.evaluation import chunks
from cvae_utils.models import (
    CGAN,
    Classifier,
    ConditionalVAE,
    Gaussian,
    InpaintingCVAE,
    LabelCVAE,
)
from cvae_utils.models.mlp import StandardNormalPrior


@pytest.fixture
def model() -> LabelCVAE:
    """Random weights that know one thing: most of an image is paper."""
    torch.manual_seed(2)
    model = LabelCVAE(latent_dim=4, width=16)
    with torch.no_grad():
        model.generation_net.get_parameter("layers.4.bias").sub_(3)
    return model


# ---------------------------------------------------------------- shares


@pytest.mark.parametrize(
    ("successes", "trials"),
    [(0, 1), (1, 1), (0, 50), (50, 50), (1, 3), (996, 1000), (9960, 10_000), (17, 400)],
)
def test_the_interval_is_that_of_scipy(successes: int, trials: int) -> None:
    share = evaluation.wilson(successes, trials)
    wanted = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    assert share.value == pytest.approx(successes / trials, abs=1e-12)
    assert share.low == pytest.approx(wanted.low, abs=1e-6)
    assert share.high == pytest.approx(wanted.high, abs=1e-6)
    assert 0 <= share.low <= share.value + 1e-12
    assert share.value - 1e-12 <= share.high <= 1


@pytest.mark.parametrize(
    ("successes", "trials", "message"),
    [
        (0, 0, r"trials must be .*>= 1, got 0"),
        (-1, 5, r"successes must be .*>= 0, got -1"),
        (6, 5, r"successes must be at most trials = 5, got 6"),
    ],
)
def test_impossible_shares_are_refused(successes: int, trials: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation.wilson(successes, trials)


# ---------------------------------------------------------------- the ELBO of a split


def test_the_elbo_is_that_of_a_plain_computation(model: LabelCVAE, digits: data.Split) -> None:
    measured = evaluation.elbo(model, digits, seed=3)
    # The definition of the series: pixels drawn on the CPU by the seed, then one draw of z.
    pixels, noise = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    x = data.binarize(digits.images, pixels)
    with torch.no_grad():
        c = nn.functional.one_hot(digits.labels, 10).float()
        mu, logvar = model.recognition_net(x, c)
        q = Normal(mu, (logvar / 2).exp())
        z = mu + q.stddev * torch.randn(mu.shape, generator=noise)
        likelihood = Bernoulli(logits=model.generation_net(z, c)).log_prob(x).sum((1, 2))
        kl = kl_divergence(q, Normal(0.0, 1.0)).sum(1)
    total = (kl - likelihood).tolist()
    mean = sum(total) / len(total)
    variance = sum((value - mean) ** 2 for value in total) / (len(total) - 1)
    assert measured.negative_elbo == pytest.approx(mean, rel=1e-5)
    assert measured.reconstruction == pytest.approx(-likelihood.mean().item(), rel=1e-5)
    assert measured.kl == pytest.approx(kl.mean().item(), rel=1e-4)
    assert measured.standard_error == pytest.approx(math.sqrt(variance / len(total)), rel=1e-3)


def test_the_elbo_is_the_same_every_time_and_another_with_another_seed(
    model: LabelCVAE, digits: data.Split
) -> None:
    first = evaluation.elbo(model, digits, seed=1)
    torch.rand(5)  # the state of torch's own generator has no say
    assert evaluation.elbo(model, digits, seed=1) == first
    second = evaluation.elbo(model, digits, seed=2)
    assert second != first
    # It is an estimate of the same thing.
    distance = abs(second.negative_elbo - first.negative_elbo)
    assert distance < 5 * (first.standard_error + second.standard_error)


def test_more_images_than_fit_in_a_chunk_are_all_measured(
    model: LabelCVAE, digits: data.Split
) -> None:
    many = data.Split(digits.images.repeat(12, 1, 1), digits.labels.repeat(12))
    assert len(many) > chunks.CHUNK
    once, often = (evaluation.elbo(model, split) for split in (digits, many))
    assert often.negative_elbo == pytest.approx(once.negative_elbo, abs=once.standard_error)
    assert often.standard_error == pytest.approx(once.standard_error / math.sqrt(12), rel=0.1)
    # The last chunk counts by its size: blank images there move the mean by their share.
    blank = data.Split(torch.zeros(200, 28, 28, dtype=torch.uint8), torch.zeros(200).long())
    mixed = data.Split(
        torch.cat([many.images[:1000], blank.images]), torch.cat([many.labels[:1000], blank.labels])
    )
    cheap = evaluation.elbo(model, blank).negative_elbo
    assert cheap < once.negative_elbo - 10 * once.standard_error
    wanted = (1000 * once.negative_elbo + 200 * cheap) / 1200
    measured = evaluation.elbo(model, mixed).negative_elbo
    assert measured == pytest.approx(wanted, abs=once.standard_error / 2)


def test_one_image_has_no_standard_error(model: LabelCVAE, digits: data.Split) -> None:
    measured = evaluation.elbo(model, digits.take(1))
    assert math.isfinite(measured.negative_elbo)
    assert math.isnan(measured.standard_error)


# ---------------------------------------------------------------- samples


def test_samples_come_label_by_label(echo: ConditionalVAE) -> None:
    images, labels = evaluation.sample_labels(echo, 3)
    assert images.shape == (30, 28, 28)
    assert labels.tolist() == [digit for digit in range(10) for _ in range(3)]
    # This model writes the label into row 1 of its images.
    assert torch.logit(images)[:, 1, :10].argmax(1).tolist() == labels.tolist()


def test_samples_are_decided_by_the_seed_and_all_differ(echo: ConditionalVAE) -> None:
    first, _ = evaluation.sample_labels(echo, 150, seed=4)  # 1,500: more than one chunk
    assert len(first[:, 0, :4].unique(dim=0)) == 1500
    assert torch.equal(evaluation.sample_labels(echo, 150, seed=4)[0], first)
    assert not torch.equal(evaluation.sample_labels(echo, 150, seed=5)[0], first)


def test_a_number_of_samples_below_one_is_refused(echo: ConditionalVAE) -> None:
    with pytest.raises(ValueError, match=r"per_label must be .*>= 1, got 0"):
        evaluation.sample_labels(echo, 0)


# ---------------------------------------------------------------- the judge


class Album(nn.Module):
    """Generates by showing the real digits of a label, one after the other."""

    def __init__(self, split: data.Split) -> None:
        super().__init__()
        unit = data.to_unit(split.images).clamp(0.001, 0.999)
        self.pages = [torch.logit(unit[split.labels == digit]) for digit in range(10)]

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        chosen = [self.pages[digit] for digit in c.argmax(1).tolist()]
        return torch.stack([page[i % len(page)] for i, page in enumerate(chosen)])


class RealDigits(ConditionalVAE):
    """Shows real digits of the label asked for, or of a label so many further."""

    name = "real_digits"

    def __init__(self, split: data.Split, further: int = 0) -> None:
        super().__init__()
        self.latent_dim, self.config, self.further = 1, {}, further
        self.anchor = nn.Parameter(torch.zeros(1))
        self.prior_net = StandardNormalPrior(1)
        self.generation_net = Album(split)

    def condition(self, labels: Tensor) -> Tensor:
        return nn.functional.one_hot((labels + self.further) % 10, 10).float()


def test_real_digits_of_the_label_are_faithful_and_of_the_next_are_not(judge: Classifier) -> None:
    digits = data.load(download=False).test.take(300)
    right = evaluation.label_faithfulness(RealDigits(digits), judge, per_label=20)
    wrong = evaluation.label_faithfulness(RealDigits(digits, further=1), judge, per_label=20)
    assert right.value > 0.97
    assert wrong.value < 0.03
    # The interval is that of 200 samples, twenty for each of ten labels.
    interval = binomtest(round(right.value * 200), 200).proportion_ci(method="wilson")
    assert (right.low, right.high) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_a_model_that_ignores_the_label_is_faithful_by_chance(judge: Classifier) -> None:
    digits = data.load(download=False).test.take(300)
    sevens = digits.labels == 7
    split = data.Split(
        digits.images[sevens].repeat(10, 1, 1), torch.arange(10).repeat_interleave(sevens.sum())
    )
    share = evaluation.label_faithfulness(RealDigits(split), judge, per_label=10)
    assert share.value == pytest.approx(0.1, abs=0.02)


def test_the_shipped_classifier_reads_real_digits(judge: Classifier) -> None:
    digits = data.load(download=False).test.take(1000)
    share = evaluation.accuracy(judge, digits)
    assert share.value > 0.98
    assert share.low < share.value < share.high
    # Against the wrong labels nearly nothing is right.
    wrong = data.Split(digits.images, (digits.labels + 1) % 10)
    assert evaluation.accuracy(judge, wrong).value < 0.02


# ---------------------------------------------------------------- importance sampling


def test_the_nll_of_one_sample_is_the_elbo_and_more_samples_are_tighter(
    model: LabelCVAE, digits: data.Split
) -> None:
    with torch.no_grad():  # a posterior far from the true one, so that there is much to gain
        model.generation_net.get_parameter("layers.0.weight").mul_(4)
    estimates = evaluation.negative_log_likelihood(model, digits, (1, 10, 200))
    assert list(estimates) == [1, 10, 200]
    measured = evaluation.elbo(model, digits).negative_elbo
    assert estimates[1].value == pytest.approx(measured, abs=0.5)
    assert estimates[1].value > estimates[10].value > estimates[200].value
    assert 0 < estimates[200].standard_error < 20


def test_the_nll_does_not_depend_on_what_else_is_asked_or_on_the_chunk(
    model: LabelCVAE, digits: data.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = evaluation.negative_log_likelihood(model, digits, (20,), seed=4)[20]
    beside = evaluation.negative_log_likelihood(model, digits, (1, 4, 20), seed=4)[20]
    assert alone == beside
    monkeypatch.setattr(evaluation.chunks, "CHUNK", 7)  # one image at a time
    chunked = evaluation.negative_log_likelihood(model, digits, (20,), seed=4)[20]
    assert chunked.value == pytest.approx(alone.value, abs=0.2)


@pytest.mark.parametrize(
    "measure",
    [
        lambda model, split: evaluation.elbo(model, split),
        lambda model, split: evaluation.negative_log_likelihood(model, split, (1, 10)),
        lambda model, split: evaluation.reconstruction_error(model, split),
    ],
    ids=["elbo", "nll", "reconstruction"],
)
def test_as_many_codes_are_decoded_at_once_as_a_chunk_holds(
    model: LabelCVAE,
    digits: data.Split,
    monkeypatch: pytest.MonkeyPatch,
    measure: Callable[[ConditionalVAE, data.Split], object],
) -> None:
    """That bounds the memory, however many images and codes are asked for."""
    monkeypatch.setattr(chunks, "CHUNK", 30)
    decoded: list[int] = []
    model.generation_net.register_forward_pre_hook(lambda _, given: decoded.append(len(given[0])))
    measure(model, digits)
    assert max(decoded) == 30


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ((), "samples must be one or more .* got none"),
        ((0, 10), r"samples must be .*>= 1, got 0"),
        ((3, 10), "samples must each divide the largest, 10, got 3"),
    ],
)
def test_unusable_numbers_of_samples_are_refused(
    model: LabelCVAE, digits: data.Split, samples: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluation.negative_log_likelihood(model, digits, samples)


# ---------------------------------------------------------------- the time that drawing takes


def test_the_time_of_drawing_is_the_median_without_the_first_call(
    model: LabelCVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call loads what the later ones find loaded."""
    took = (90.0, 1.0, 5.0, 2.0)  # seconds
    clock = iter([moment for seconds in took for moment in (0.0, seconds)])
    stopwatch = SimpleNamespace(perf_counter=lambda: next(clock))
    monkeypatch.setattr(evaluation.report, "time", stopwatch)
    assert evaluation.drawing_time(model, repeats=3) == 2000


def test_a_measurement_leaves_every_module_in_its_own_mode(
    model: LabelCVAE, inpainting: InpaintingCVAE, digits: data.Split
) -> None:
    judge, few, hole = Classifier(width=4), digits.take(5), masks.centre()
    measured: list[nn.Module] = [model, inpainting, judge]
    for one in measured:
        one.train()
        next(one.children()).eval()  # as whoever keeps a part of a model frozen does
    before = [[module.training for module in one.modules()] for one in measured]
    evaluation.elbo(model, few)
    evaluation.negative_log_likelihood(model, few, (2,))
    evaluation.reconstruction_error(model, few)
    evaluation.posterior_codes(model, few)
    evaluation.most_used(model, few, 1)
    evaluation.sample_labels(model, 2)
    evaluation.drawing_time(model, 1)
    evaluation.hole_nll(inpainting, few, hole, (2,))
    evaluation.hole_scores(inpainting, judge, few, hole, (2,))
    evaluation.accuracy(judge, few)
    judge.describe(data.to_unit(few.images))
    assert [[module.training for module in one.modules()] for one in measured] == before


@pytest.mark.parametrize("measure", [evaluation.drawing_time, lambda m: evaluation.effects(m, 0)])
def test_a_measurement_moves_neither_the_model_nor_the_callers_random_numbers(
    measure: Callable[[CGAN], object],
) -> None:
    """In training mode batch normalization would move its running means with every draw."""
    gan = CGAN(latent_dim=2, width=4, hidden=8).train()
    before, numbers = copy.deepcopy(gan.state_dict()), torch.get_rng_state()
    measure(gan)
    assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())
    assert torch.equal(torch.get_rng_state(), numbers)


def test_a_model_of_64_bits_is_measured_in_64_bits(
    model: LabelCVAE, inpainting: InpaintingCVAE, digits: data.Split
) -> None:
    precise = copy.deepcopy(model).double()
    few = evaluation.elbo(precise, digits)
    assert few.kl == pytest.approx(evaluation.elbo(model, digits).kl, rel=1e-4)
    assert evaluation.negative_log_likelihood(precise, digits, (5,))[5].value == pytest.approx(
        evaluation.negative_log_likelihood(model, digits, (5,))[5].value, abs=1
    )
    assert evaluation.reconstruction_error(precise, digits).value == pytest.approx(
        evaluation.reconstruction_error(model, digits).value, rel=1e-4
    )
    assert evaluation.kl_per_dimension(precise, digits) == pytest.approx(
        evaluation.kl_per_dimension(model, digits), rel=1e-4
    )
    assert evaluation.posterior_codes(precise, digits).dtype == torch.float64
    hole, judge, finer = masks.centre(), Classifier(width=4), copy.deepcopy(inpainting).double()
    nlls = [evaluation.hole_nll(filler, digits, hole, (2,)) for filler in (inpainting, finer)]
    assert nlls[1][2].value == pytest.approx(nlls[0][2].value, rel=0.01)
    scores = [
        evaluation.hole_scores(filler, judge, digits, hole, (2,)) for filler in (inpainting, finer)
    ]
    assert scores[0].spread > 0.001
    assert scores[1].spread == pytest.approx(scores[0].spread, rel=0.1)  # of other codes
    assert scores[1].squared_error[2] == pytest.approx(scores[0].squared_error[2], rel=0.05)


# ---------------------------------------------------------------- images from their codes


def test_the_reconstruction_error_is_that_of_a_plain_computation(
    model: LabelCVAE, digits: data.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():  # a code that matters, so that its mean differs from a draw
        model.generation_net.get_parameter("layers.0.weight").mul_(4)
        x = digits.images.double() / 255
        c = nn.functional.one_hot(digits.labels, 10).double()
        plain = copy.deepcopy(model).double()
        mu, _ = plain.recognition_net(x, c)
        drawn = 1 / (1 + (-plain.generation_net(mu, c)).exp())
    apart = [
        sum((is_ - made) ** 2 for is_, made in zip(*pair, strict=True))
        for pair in zip(x.flatten(1).tolist(), drawn.flatten(1).tolist(), strict=True)
    ]
    mean = sum(apart) / len(apart)
    variance = sum((one - mean) ** 2 for one in apart) / (len(apart) - 1)
    for at_once in (100, 30):  # in one chunk, and in four, the last of which is smaller
        monkeypatch.setattr(evaluation.chunks, "CHUNK", at_once)
        measured = evaluation.reconstruction_error(model, digits)
        assert measured.value == pytest.approx(mean, rel=1e-5)
        assert measured.standard_error == pytest.approx(math.sqrt(variance / 100), rel=1e-4)


# ---------------------------------------------------------------- what a code knows


class Known(nn.Module):
    """A recognition network that says the same of every image."""

    def forward(self, x: Tensor, c: Tensor) -> Gaussian:
        mu = torch.tensor([3.0, 0.0, 1.0]).expand(len(x), -1)
        return Gaussian(mu, torch.zeros_like(mu))


def test_kl_per_dimension_names_the_dimensions(digits: data.Split) -> None:
    model = LabelCVAE(latent_dim=3, width=8)
    model.recognition_net = Known()
    per_dimension = evaluation.kl_per_dimension(model, digits)
    assert per_dimension.tolist() == pytest.approx([4.5, 0, 0.5])  # mu^2 / 2 beside N(0, 1)


def test_kl_per_dimension_adds_up_to_the_kl_of_the_elbo(
    model: LabelCVAE, digits: data.Split
) -> None:
    per_dimension = evaluation.kl_per_dimension(model, digits, seed=1)
    assert per_dimension.shape == (4,)
    assert per_dimension.sum().item() == pytest.approx(evaluation.elbo(model, digits, 1).kl, 1e-5)


def test_posterior_codes_are_drawn_from_q(model: LabelCVAE, digits: data.Split) -> None:
    codes = evaluation.posterior_codes(model, digits, seed=2)
    assert codes.shape == (100, 4)
    assert torch.equal(codes, evaluation.posterior_codes(model, digits, seed=2))
    with torch.no_grad():
        q = model.recognize(data.fixed_binarization(digits.images, 2), digits.labels)
    standardized = (codes - q.mu) / q.std
    assert abs(standardized.mean().item()) < 0.15  # 400 draws: a standard error of 0.05
    assert abs(standardized.std().item() - 1) < 0.15


class Sayer(nn.Module):
    """A recognition network whose code says the label as loudly as it is told to."""

    def __init__(self, volume: float) -> None:
        super().__init__()
        self.volume = volume

    def forward(self, x: Tensor, c: Tensor) -> Gaussian:
        return Gaussian(self.volume * c, torch.zeros_like(c))


@pytest.mark.parametrize(("volume", "low", "high"), [(40.0, 0.95, 1.0), (0.0, 0.0, 0.3)])
def test_the_probe_reads_a_code_that_says_the_label_and_only_that(
    digits: data.Split, volume: float, low: float, high: float
) -> None:
    model = LabelCVAE(latent_dim=10, width=8)
    model.recognition_net = Sayer(volume)
    every_label = torch.arange(50) % 10  # which images they stand with is of no matter here
    half = data.Split(digits.images[:50], every_label)
    other = data.Split(digits.images[50:], every_label)
    assert low <= evaluation.label_probe(model, half, other).value <= high
    # numpy, which the probe computes in, knows no bfloat16.
    assert low <= evaluation.label_probe(model.bfloat16(), half, other).value <= high
