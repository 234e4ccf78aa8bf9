"""The adversarial game: two costs in one loss, each of which moves its own network alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvae_utils import data, objectives, training
from cvae_utils.models import CGAN, GAN, Gaussian
from tests.conftest import source

SMALL: dict[str, Any] = {"latent_dim": 3, "width": 4, "hidden": 8}


@pytest.fixture(params=[GAN, CGAN])
def gan(request: pytest.FixtureRequest) -> GAN:
    torch.manual_seed(0)
    model: GAN = request.param(**SMALL)
    return model


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(6, 28, 28, generator=source(1)), torch.arange(6)


def gradients(network: nn.Module) -> list[Tensor]:
    found = [weights.grad for weights in network.parameters()]
    assert all(gradient is not None for gradient in found)
    return [gradient for gradient in found if gradient is not None]


# ---------------------------------------------------------------- the objective


def test_each_cost_moves_its_own_network_alone(gan: GAN) -> None:
    x, labels = batch()
    terms = objectives.adversarial()(gan, x, labels, source())
    terms["loss"].mean().backward()
    together = gradients(gan.generation_net), gradients(gan.discriminator_net)

    # The same two steps as a textbook takes them, one after the other.
    c = gan.condition(labels)
    drawn = torch.sigmoid(gan.generation_net(gan.prior_net(c).sample(source()), c))
    fooled = F.binary_cross_entropy_with_logits(gan.discriminator_net(drawn, c), torch.ones(6))
    alone = torch.autograd.grad(fooled, list(gan.generation_net.parameters()))
    for one, other in zip(together[0], alone, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert any(one.abs().max() > 1e-5 for one in alone)
    c, drawn = gan.condition(labels), drawn.detach()
    told_apart = F.binary_cross_entropy_with_logits(
        gan.discriminator_net(x, c), torch.ones(6)
    ) + F.binary_cross_entropy_with_logits(gan.discriminator_net(drawn, c), torch.zeros(6))
    alone = torch.autograd.grad(told_apart, list(gan.discriminator_net.parameters()))
    for one, other in zip(together[1], alone, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert any(one.abs().max() > 1e-5 for one in alone)
    assert terms["generator"].mean().item() == pytest.approx(fooled.item(), abs=1e-5)
    assert terms["discriminator"].mean().item() == pytest.approx(told_apart.item(), abs=1e-5)


def test_the_terms_are_per_example_and_add_up(gan: GAN) -> None:
    terms = objectives.adversarial(penalty=2.0)(gan, *batch(), source())
    assert list(terms) == ["loss", "generator", "discriminator", "penalty", "real", "fake"]
    assert all(values.shape == (6,) for values in terms.values())
    parts = terms["generator"] + terms["discriminator"] + terms["penalty"]
    assert torch.allclose(terms["loss"], parts)
    assert all(((terms[name] > 0) & (terms[name] < 1)).all() for name in ("real", "fake"))


class Undecided(nn.Module):
    """A discriminator whose logit is a weighted sum of the pixels: its slope is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(28, 28))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return (x * self.weight).sum((1, 2))


def test_a_coin_toss_costs_what_theory_says(gan: GAN) -> None:
    gan.discriminator_net = Undecided()
    terms = objectives.adversarial()(gan, *batch(), source())
    assert torch.allclose(terms["generator"], torch.full((6,), math.log(2)))
    assert torch.allclose(terms["discriminator"], torch.full((6,), 2 * math.log(2)))
    assert torch.allclose(terms["real"], torch.full((6,), 0.5))


def test_the_penalty_is_half_the_squared_slope(gan: GAN) -> None:
    gan.discriminator_net = Undecided()
    nn.init.normal_(gan.discriminator_net.weight, generator=source())
    terms = objectives.adversarial(penalty=3.0)(gan, *batch(), source())
    slope = gan.discriminator_net.weight.detach().square().sum()
    assert torch.allclose(terms["penalty"], 0.5 * 3 * slope.expand(6))
    terms["loss"].mean().backward()  # the slope's own gradient is part of the game


def test_a_negative_penalty_is_refused() -> None:
    with pytest.raises(ValueError, match=r"penalty must be .* from 0 .* got -1"):
        objectives.adversarial(penalty=-1)


# ---------------------------------------------------------------- the models


def test_the_label_reaches_both_networks_of_a_cgan_and_none_of_a_gan(gan: GAN) -> None:
    x, labels = batch()
    z = torch.randn(6, 3, generator=source())
    same_image = torch.equal(gan.generate(z, labels), gan.generate(z, labels + 1))
    same_verdict = torch.equal(gan.discriminate(x, labels), gan.discriminate(x, labels + 1))
    assert same_image is same_verdict is not isinstance(gan, CGAN)


def test_samples_are_ink_probabilities_decided_by_the_generator(gan: GAN) -> None:
    labels = torch.arange(10)
    images = gan.sample(labels, source(3))
    assert images.shape == (10, 28, 28)
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images, gan.sample(labels, source(3)))
    assert not torch.equal(images, gan.sample(labels, source(4)))


def test_verdicts_are_probabilities_and_bad_images_are_refused(gan: GAN) -> None:
    x, labels = batch()
    verdicts = gan.discriminate(x, labels)
    assert verdicts.shape == (6,)
    assert ((verdicts > 0) & (verdicts < 1)).all()
    with pytest.raises(ValueError, match="x must be"):
        gan.discriminate(x + 1, labels)
    with pytest.raises(ValueError, match="labels must be"):
        gan.discriminate(x, labels[:3])


def test_a_lower_temperature_draws_codes_nearer_to_zero(gan: GAN) -> None:
    labels = torch.arange(10)
    cold = type(gan)(**SMALL, temperature=0.5)
    cold.load_state_dict(gan.state_dict())
    prior: Gaussian = gan.prior_net(gan.condition(labels))
    z = prior.sample(source())
    assert torch.equal(cold.sample(labels, source()), gan.generate(0.5 * z, labels))
    with pytest.raises(ValueError, match="temperature must be"):
        type(gan)(temperature=0)


# ---------------------------------------------------------------- the loop


def test_the_loop_trains_both_networks(gan: GAN, digits: data.Split) -> None:
    before = {name: weights.clone() for name, weights in gan.named_parameters()}
    history = training.fit(
        gan,
        objectives.adversarial(1.0),
        digits,
        epochs=1,
        batch_size=25,
        prepare=data.grey,
        momentum=objectives.GAN_MOMENTUM,
    )
    assert {"generator", "discriminator", "penalty", "real", "fake"} < set(history.epochs[0])
    assert all(not torch.equal(weights, before[name]) for name, weights in gan.named_parameters())
