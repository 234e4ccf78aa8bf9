"""The inpainting model: what it sees, what it counts, what it passes through, how it is scored."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli

from cvae_utils import data, evaluation, masks, objectives, training
from cvae_utils.models import Classifier, Gaussian, InpaintingCVAE
from tests.conftest import source


def images(count: int) -> Tensor:
    return torch.rand(count, 28, 28, generator=source(0))


@pytest.fixture(params=[3, 0], ids=["cvae", "plain"])
def model(request: pytest.FixtureRequest) -> InpaintingCVAE:
    torch.manual_seed(1)
    return InpaintingCVAE(latent_dim=request.param, width=6, hidden=16)


# ---------------------------------------------------------------- the model


def test_visible_pixels_are_passed_through_bit_for_bit(model: InpaintingCVAE) -> None:
    x, mask = images(4), masks.centre(10)
    given = masks.hide(x, mask)
    for filled in (model.sample(given, source(1)), model.reconstruct(x, given)):
        assert filled.shape == x.shape
        assert torch.equal(filled[:, mask], x[:, mask])
        assert not torch.equal(filled[:, ~mask], x[:, ~mask])
        assert ((filled >= 0) & (filled <= 1)).all()


def test_what_is_hidden_cannot_change_a_completion(model: InpaintingCVAE) -> None:
    x, mask = images(3), masks.quadrants(1)
    other = torch.where(mask, x, 1 - x)
    first = model.sample(masks.hide(x, mask), source(2))
    assert torch.equal(first, model.sample(masks.hide(other, mask), source(2)))


def test_what_is_visible_does(model: InpaintingCVAE) -> None:
    x, mask = images(3), masks.quadrants(3)
    other = torch.where(mask, 1 - x, x)
    first = model.sample(masks.hide(x, mask), source(2))
    second = model.sample(masks.hide(other, mask), source(2))
    assert not torch.allclose(first[:, ~mask], second[:, ~mask])


def test_nothing_hidden_returns_the_image_and_nothing_visible_samples_freely(
    model: InpaintingCVAE,
) -> None:
    x = images(2)
    assert torch.equal(model.sample(masks.hide(x, masks.centre(0))), x)
    blind = model.sample(masks.hide(x, masks.centre(28)), source(3))
    assert blind.shape == x.shape
    assert ((blind > 0) & (blind < 1)).all()


def test_codes_make_the_completions_differ_and_a_plain_network_has_one_answer() -> None:
    torch.manual_seed(1)
    given = masks.hide(images(1), masks.centre(12)).expand(5, -1, -1, -1)
    several = InpaintingCVAE(latent_dim=3, width=6, hidden=16).sample(given, source(4))
    assert several.std(dim=0).max() > 1e-4
    one = InpaintingCVAE(latent_dim=0, width=6, hidden=16).sample(given, source(4))
    torch.testing.assert_close(one, one[:1].expand_as(one))


def test_the_prior_is_learned_from_what_is_visible() -> None:
    torch.manual_seed(1)
    model = InpaintingCVAE(latent_dim=3, width=6, hidden=16)
    given = masks.hide(images(2), masks.half("left"))
    prior = model.prior_net(model.condition(given))
    assert not torch.allclose(prior.mu[0], prior.mu[1])
    terms = objectives.elbo_terms(model, images(2), given, source(0))
    terms.negative_elbo.sum().backward()
    assert all(weights.grad is not None for weights in model.prior_net.parameters())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(2, 28, 28), r"given must be .*\(B, 2, 28, 28\), pixels and mask"),
        (torch.zeros(2, 2, 28, 28, dtype=torch.int64), "given must be .*got a torch.int64 tensor"),
        (torch.zeros(0, 2, 28, 28), "given must be "),
        (torch.full((2, 2, 28, 28), 0.5), "got a mask of other values than 0 and 1"),
        (torch.full((2, 2, 28, 28), 2.0), "got pixels from 2 to 2"),
        (torch.full((2, 2, 28, 28), math.nan), "got pixels from nan to nan"),
    ],
)
def test_what_was_not_made_by_hide_is_refused(
    model: InpaintingCVAE, given: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model.sample(given)


def test_as_many_masked_images_as_images_are_wanted(model: InpaintingCVAE) -> None:
    with pytest.raises(ValueError, match=r"given must be .*\(3, 2, 28, 28\)"):
        model.recognize(images(3), masks.hide(images(2), masks.centre()))


# ---------------------------------------------------------------- the objective


def test_only_hidden_pixels_are_scored(model: InpaintingCVAE) -> None:
    x, mask = images(3).round(), masks.centre(10)
    given = masks.hide(x, mask)
    terms = objectives.elbo_terms(model, x, given, source(5))
    q = model.recognition_net(x, given)
    logits = model.generation_net(q.sample(source(5)), given)
    wanted = -Bernoulli(logits=logits[:, ~mask]).log_prob(x[:, ~mask]).sum(1)
    torch.testing.assert_close(terms.reconstruction, wanted, rtol=1e-5, atol=1e-4)


def test_a_plain_network_pays_no_kl() -> None:
    model = InpaintingCVAE(latent_dim=0, width=6, hidden=16)
    given = masks.hide(images(3), masks.centre(10))
    assert torch.equal(objectives.elbo_terms(model, images(3), given).kl, torch.zeros(3))


def test_training_draws_a_mask_for_each_example_and_lowers_the_loss(digits: data.Split) -> None:
    torch.manual_seed(0)
    model, drawn = InpaintingCVAE(latent_dim=2, width=6, hidden=32), []

    def spy(batch: int, generator: torch.Generator) -> Tensor:
        drawn.append(masks.mixed(batch, generator))
        return drawn[-1]

    history = training.fit(
        model, objectives.inpainting(spy), digits, epochs=10, batch_size=20, prepare=data.grey
    )
    assert history.curve("loss")[-1] < 0.85 * history.curve("loss")[0]
    assert len(drawn) == 50
    assert len({mask.numpy().tobytes() for mask in torch.cat(drawn)}) > 500


# ---------------------------------------------------------------- the scores


def exact_nll(model: InpaintingCVAE, x: Tensor, given: Tensor) -> Tensor:
    """Integrate p(hidden | z, c) p(z | c) over a fine grid of the one-dimensional code."""
    rows = []
    for image, told in zip(x, given, strict=True):
        prior = model.prior_net(told[None])
        z = prior.mu + prior.std * torch.linspace(-8, 8, 4001)[:, None]
        c = told.expand(len(z), -1, -1, -1)
        likelihood = objectives.bernoulli_log_likelihood(
            model.generation_net(z, c), image.expand(len(z), -1, -1), model.counted(c)
        )
        log_width = math.log(16 / 4000) + torch.log(prior.std[0, 0])
        rows.append(-(likelihood + prior.log_prob(z) + log_width).logsumexp(0))
    return torch.stack(rows)


@torch.no_grad()
def test_both_estimates_of_the_hole_agree_with_the_integral(digits: data.Split) -> None:
    torch.manual_seed(2)
    model, few, mask = InpaintingCVAE(1, 6, 16), digits.take(4), masks.centre(10)
    for parameter in model.generation_net.parameters():
        parameter.mul_(1.5)  # a code that matters
    x = data.to_unit(few.images)
    wanted = exact_nll(model, x, masks.hide(x, mask)).mean().item()
    for proposal in ("recognition", "prior"):
        estimate = evaluation.hole_nll(model, few, mask, (4000,), 0, proposal)[4000]
        assert estimate.value == pytest.approx(wanted, abs=0.05)
    with pytest.raises(ValueError, match="proposal must be one of 'recognition', 'prior'"):
        evaluation.hole_nll(model, few, mask, (4,), 0, "guess")


class Case(NamedTuple):
    """A model that fills every hidden pixel with ink of this probability, on average."""

    ink: float
    spread: float


class Fills(InpaintingCVAE):
    """Fills each hole with one grey value, drawn anew for each completion: ink or ink + spread."""

    def __init__(self, case: Case) -> None:
        super().__init__(latent_dim=1, width=2, hidden=2)
        self.case = case
        self.prior_net = Standard()
        self.generation_net = Grey(case)


class Standard(torch.nn.Module):
    def forward(self, c: Tensor) -> Gaussian:
        return Gaussian(c.new_zeros(len(c), 1), c.new_zeros(len(c), 1))


class Grey(torch.nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        ink = self.case.ink + self.case.spread * (z[:, 0] > 0)
        return torch.logit(ink)[:, None, None].expand(-1, 28, 28)


def test_hole_scores_are_those_of_a_filling_that_is_known(digits: data.Split) -> None:
    judge = Classifier(width=2)
    mask = masks.centre(10)
    paper = data.Split(torch.zeros(40, 28, 28, dtype=torch.uint8), torch.arange(40) % 10)
    scores = evaluation.hole_scores(Fills(Case(0.1, 0.2)), judge, paper, mask, (1, 8))
    # 100 hidden pixels, each 0.1 or 0.3 away from paper, half and half
    assert scores.squared_error[8] == pytest.approx(100 * 0.1**2, abs=0.3)
    assert 2.5 < scores.squared_error[1] < 7.5  # 5 expected: half of 1 and 9
    assert 0.08 < scores.spread <= 0.1
    assert scores.read_original == scores.read_unfilled  # paper is paper
    steady = evaluation.hole_scores(Fills(Case(0.5, 0.0)), judge, digits, mask, (1, 4))
    assert steady.spread == pytest.approx(0, abs=1e-6)
    assert steady.squared_error[1] == pytest.approx(steady.squared_error[4])
    hidden = data.to_unit(digits.images)[:, ~mask]
    wanted = (hidden - 0.5).square().sum(1).mean().item()
    assert steady.squared_error[1] == pytest.approx(wanted, rel=1e-4)
    assert steady.read_original == evaluation.accuracy(judge, digits)


class InkReader(Classifier):
    """Reads an image as 1 where the middle is darker than 0.2, else as 0."""

    def read(self, x: Tensor) -> Tensor:
        return (x[:, 14, 14] > 0.2).long()


def test_filled_images_are_read_as_sampled_as_at_the_priors_mean_and_as_left_empty() -> None:
    ink = torch.zeros(200, 28, 28, dtype=torch.uint8)
    ink[:, 9:19, 9:19] = 255
    dark = data.Split(ink, torch.ones(200, dtype=torch.int64))
    # The prior's mean code, 0, gives 0.1; every second draw gives 0.3, which is read as 1.
    scores = evaluation.hole_scores(Fills(Case(0.1, 0.2)), InkReader(2), dark, masks.centre(10))
    assert (scores.read_original.value, scores.read_unfilled.value) == (1, 0)
    assert scores.read_mean.value == 0
    assert 0.35 < scores.read_sampled.value < 0.65
