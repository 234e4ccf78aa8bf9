"""The objectives against torch.distributions, quadrature and derivatives by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from cvae_utils import objectives
from cvae_utils.models import VAE, Classifier, ConditionalVAE, Gaussian, LabelCVAE
from cvae_utils.objectives import bernoulli_log_likelihood, elbo_terms, gaussian_kl
from tests.conftest import source

LOG_2PI = math.log(2 * math.pi)
Parameters = tuple[float, float, float, float]


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 28, 28, generator=source(seed)).round()


def silence(model: ConditionalVAE) -> ConditionalVAE:
    """Set all weights to zero: q = N(0, 1) and every pixel's probability is 1/2."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


# ---------------------------------------------------------------- KL divergence

means = st.floats(-20, 20)
logvars = st.floats(-8, 8)
gaussians = st.lists(st.tuples(means, logvars, means, logvars), min_size=1, max_size=8)


def both(rows: list[Parameters]) -> tuple[Gaussian, Gaussian]:
    mq, lq, mp, lp = torch.tensor(rows, dtype=torch.float64).T.unsqueeze(1)
    return Gaussian(mq, lq), Gaussian(mp, lp)


@settings(deadline=None)
@given(gaussians)
def test_kl_is_that_of_torch_distributions_for_any_prior(rows: list[Parameters]) -> None:
    q, p = both(rows)
    wanted = kl_divergence(Normal(q.mu, (q.logvar / 2).exp()), Normal(p.mu, (p.logvar / 2).exp()))
    torch.testing.assert_close(gaussian_kl(q, p), wanted, rtol=1e-9, atol=1e-9)


@settings(deadline=None)
@given(gaussians)
def test_kl_is_never_negative_and_zero_between_equals(rows: list[Parameters]) -> None:
    q, p = both(rows)
    assert (gaussian_kl(q, p) >= -1e-12).all()
    assert (gaussian_kl(p, p).abs() <= 1e-12).all()


@pytest.mark.parametrize("logvar", [-200.0, -100.0, 100.0, 200.0])
def test_densities_and_kl_stay_finite_where_a_variance_does_not(logvar: float) -> None:
    """In float32 exp(100) is infinite, and exp(-200) is 0."""
    q = Gaussian(torch.zeros(1, 2), torch.full((1, 2), logvar))
    assert gaussian_kl(q, q).tolist() == [[0, 0]]
    assert q.log_prob(q.mu).item() == pytest.approx(-LOG_2PI - logvar)
    near = Gaussian(q.mu + q.std, q.logvar)  # one standard deviation away
    if near.mu.isfinite().all():
        assert q.log_prob(near.mu).item() == pytest.approx(-LOG_2PI - logvar - 1)
        assert gaussian_kl(q, near).tolist() == [[0.5, 0.5]]


def test_importance_weights_are_exact_where_networks_answer_in_16_bits(
    echo: ConditionalVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, p = (Gaussian(*torch.tensor([[[mu] * 4], [[0] * 4]]).bfloat16()) for mu in (0.0, 3.0))
    codes = []

    def generation(z: Tensor, c: Tensor) -> Tensor:
        codes.append(z.double())
        return torch.zeros(len(z), 28, 28)

    echo.recognition_net = lambda x, c: q  # type: ignore[assignment]
    monkeypatch.setattr(echo.prior_net, "forward", lambda c: p)
    monkeypatch.setattr(echo.generation_net, "forward", generation)
    with torch.autocast("cpu", torch.bfloat16):
        found = objectives.log_importance_weights(echo, images(1), torch.tensor([3]), 50, source(0))
    (z,) = codes
    ratio = Normal(3.0, 1.0).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    wanted = ratio.sum(1) - 784 * math.log(2)
    torch.testing.assert_close(found[0].double(), wanted, atol=1e-3, rtol=0)


def test_kl_is_not_symmetric() -> None:
    wide, narrow = Gaussian(torch.zeros(1, 1), torch.ones(1, 1)), Gaussian(*torch.zeros(2, 1, 1))
    # By hand, with v = e against 1: (e - 1 - 1) / 2 one way, (1 / e + 1 - 1) / 2 the other.
    assert gaussian_kl(wide, narrow).item() == pytest.approx((math.e - 2) / 2)
    assert gaussian_kl(narrow, wide).item() == pytest.approx(1 / (2 * math.e))


def test_kl_pulls_the_posterior_to_the_prior() -> None:
    mu = torch.tensor([[1.5, -2.0]], requires_grad=True)
    logvar = torch.tensor([[0.7, -0.3]], requires_grad=True)
    prior = Gaussian(torch.zeros(1, 2), torch.zeros(1, 2))
    gaussian_kl(Gaussian(mu, logvar), prior).sum().backward()
    assert mu.grad is not None
    assert logvar.grad is not None
    torch.testing.assert_close(mu.grad, mu.detach())  # d/dmu mu^2 / 2
    torch.testing.assert_close(logvar.grad, (logvar.detach().exp() - 1) / 2)


# ---------------------------------------------------------------- likelihood


def test_log_likelihood_is_the_sum_over_the_pixels() -> None:
    logits = 6 * torch.randn(3, 28, 28, generator=source(1), dtype=torch.float64)
    x = images(3).double()
    wanted = [Bernoulli(logits=a).log_prob(b).sum().item() for a, b in zip(logits, x, strict=True)]
    assert bernoulli_log_likelihood(logits, x).tolist() == pytest.approx(wanted, rel=1e-9)


def test_log_likelihood_of_grey_is_the_expectation_over_black_and_white() -> None:
    logits = torch.randn(1, 28, 28, generator=source(1), dtype=torch.float64)
    grey = torch.rand(1, 28, 28, generator=source(2), dtype=torch.float64)
    p = Bernoulli(logits=logits)
    ink, paper = p.log_prob(torch.ones_like(grey)), p.log_prob(torch.zeros_like(grey))
    wanted = (grey * ink + (1 - grey) * paper).sum().item()
    assert bernoulli_log_likelihood(logits, grey).item() == pytest.approx(wanted)


def test_log_likelihood_stays_finite_where_the_model_is_sure_and_wrong() -> None:
    logits = torch.full((1, 28, 28), -200.0)  # in float32, sigmoid(-200) is 0 and log(0) infinite
    assert bernoulli_log_likelihood(logits, torch.ones(1, 28, 28)).item() == -200 * 784


# ---------------------------------------------------------------- the ELBO


def test_an_untaught_model_costs_one_bit_per_pixel_and_no_kl() -> None:
    model = silence(LabelCVAE(latent_dim=3, width=8))
    terms = elbo_terms(model, images(2), torch.tensor([1, 2]), source(0))
    assert terms.reconstruction.tolist() == pytest.approx([784 * math.log(2)] * 2)  # no mean
    assert terms.kl.tolist() == [0, 0]


def test_the_kl_is_summed_over_the_latent_dimensions() -> None:
    model = silence(VAE(latent_dim=3, width=8))
    layers = model.recognition_net.layers
    assert isinstance(layers, torch.nn.Sequential)
    with torch.no_grad():
        layers[-1].get_parameter("bias")[:3] = torch.tensor(
            [1.0, 2.0, 3.0]
        )  # mu; the KL is mu^2 / 2
    terms = elbo_terms(model, images(2), torch.tensor([1, 2]), source(0))
    assert terms.kl.tolist() == pytest.approx([(1 + 4 + 9) / 2] * 2)
    torch.testing.assert_close(terms.negative_elbo, terms.reconstruction + 7)


@pytest.fixture
def one_code() -> LabelCVAE:
    """A model with one latent dimension that matters, small enough for quadrature."""
    torch.manual_seed(3)
    model = LabelCVAE(latent_dim=1, width=8).double()
    with torch.no_grad():
        for net in (model.recognition_net, model.generation_net):
            for parameter in net.parameters():
                parameter.mul_(2.5)  # at the usual initial size, z would hardly change a pixel
    return model


def integrals(model: LabelCVAE, x: Tensor, label: Tensor) -> tuple[float, float, float]:
    """Return E_q[-log p(x|z,c)], KL(q || prior) and -log p(x|c), all by the trapezoid rule."""
    with torch.no_grad():
        c = model.condition(label)
        mu, logvar = (value.item() for value in model.recognition_net(x, c))
        z = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
        logits = model.generation_net(z[:, None], c.expand(len(z), -1))
        likelihood = Bernoulli(logits=logits).log_prob(x).sum((1, 2))
    log_q = -((z - mu) ** 2) / (2 * math.exp(logvar)) - (LOG_2PI + logvar) / 2
    log_p = -(z**2) / 2 - LOG_2PI / 2
    q = log_q.exp()
    peak = likelihood.max()
    evidence = torch.trapezoid((likelihood - peak + log_p).exp(), z).log() + peak
    assert torch.trapezoid(q, z).item() == pytest.approx(1)  # the grid is wide and fine enough
    return (
        torch.trapezoid(q * -likelihood, z).item(),
        torch.trapezoid(q * (log_q - log_p), z).item(),
        -evidence.item(),
    )


@pytest.mark.parametrize("label", [0, 7])
def test_the_mean_of_many_draws_is_the_integral_and_bounds_the_likelihood(
    one_code: LabelCVAE, label: int
) -> None:
    draws = 4000
    x, labels = images(1, seed=5).double(), torch.tensor([label])
    reconstruction, kl, evidence = integrals(one_code, x, labels)
    with torch.no_grad():
        terms = elbo_terms(one_code, x.expand(draws, -1, -1), labels.expand(draws), source(label))
    error = terms.reconstruction.std().item() / math.sqrt(draws)
    assert error > 0.01  # the draws differ: the test is not about a constant
    assert terms.reconstruction.mean().item() == pytest.approx(reconstruction, abs=5 * error)
    assert terms.kl.tolist() == pytest.approx([kl] * draws, rel=1e-6)
    assert terms.negative_elbo.mean().item() == pytest.approx(reconstruction + kl, abs=5 * error)
    # The bound holds, with room: a random q is far from the true posterior.
    assert terms.negative_elbo.mean().item() > evidence + 5 * error


def test_the_model_may_train_on_what_is_measured() -> None:
    model = LabelCVAE(latent_dim=2, width=8)
    x, labels = images(5), torch.arange(5)
    terms = elbo_terms(model, x, labels, source(4))
    parts = objectives.negative_elbo(model, x, labels, source(4))
    assert set(parts) == {"loss", "reconstruction", "kl"}
    assert torch.equal(parts["loss"], terms.reconstruction + terms.kl)
    assert torch.equal(parts["reconstruction"], terms.reconstruction)
    assert torch.equal(parts["kl"], terms.kl)


def test_every_weight_gets_a_gradient_from_the_loss() -> None:
    model = LabelCVAE(latent_dim=2, width=8)
    objectives.negative_elbo(model, images(5), torch.arange(5), source(4))["loss"].mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_bad_images_and_labels_are_refused_by_name() -> None:
    model = VAE(latent_dim=2, width=8)
    with pytest.raises(ValueError, match=r"^x must be .*floating-point.*torch\.uint8"):
        elbo_terms(model, images(2).byte(), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match=r"^labels must be .*0 to 9, got labels from 1 to 10"):
        elbo_terms(model, images(2), torch.tensor([1, 10]))
    with pytest.raises(ValueError, match=r"^labels must be .*\(2,\)"):
        elbo_terms(model, images(2), torch.tensor([1]))


# ---------------------------------------------------------------- gradients through the noise


def second_moment(mu: Tensor, logvar: Tensor, draws: int) -> Tensor:
    """Estimate E[z^2] from draws of `Gaussian.sample`, with the same noise at every call."""
    shape = (draws, 1)
    q = Gaussian(mu.expand(shape), logvar.expand(shape))
    return q.sample(source(11)).square().mean()


def test_the_gradient_through_the_noise_is_the_analytic_one() -> None:
    mu = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    logvar = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    by_mu, by_logvar = torch.autograd.grad(second_moment(mu, logvar, 400_000), (mu, logvar))
    # E[z^2] = mu^2 + exp(logvar); the tolerance is five standard errors or more.
    assert by_mu.item() == pytest.approx(2 * 0.8, abs=0.02)
    assert by_logvar.item() == pytest.approx(math.exp(-0.5), abs=0.02)


def test_the_gradient_through_the_noise_is_that_of_finite_differences() -> None:
    mu = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    logvar = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    by_mu, by_logvar = torch.autograd.grad(second_moment(mu, logvar, 100), (mu, logvar))
    h = 1e-5
    with torch.no_grad():
        mu_slope = second_moment(mu + h, logvar, 100) - second_moment(mu - h, logvar, 100)
        logvar_slope = second_moment(mu, logvar + h, 100) - second_moment(mu, logvar - h, 100)
    assert by_mu.item() == pytest.approx(mu_slope.item() / (2 * h), rel=1e-6)
    assert by_logvar.item() == pytest.approx(logvar_slope.item() / (2 * h), rel=1e-6)


# ---------------------------------------------------------------- the judge's objective


def test_cross_entropy_and_error_are_per_example() -> None:
    torch.manual_seed(0)
    model = Classifier(width=2).eval()
    x = images(6)
    logits = model(x).tolist()
    read = [row.index(max(row)) for row in logits]
    labels = torch.tensor([*read[:3], *((label + 1) % 10 for label in read[3:])])
    terms = objectives.cross_entropy(model, x, labels, source(0))
    assert terms["error"].tolist() == [0, 0, 0, 1, 1, 1]
    for row, label, loss in zip(logits, labels.tolist(), terms["loss"].tolist(), strict=True):
        wanted = math.log(sum(math.exp(logit) for logit in row)) - row[label]
        assert loss == pytest.approx(wanted, rel=1e-5)


# ---------------------------------------------------------------- the importance-weighted bound


@settings(deadline=None)
@given(gaussians)
def test_log_prob_is_that_of_torch_distributions(rows: list[Parameters]) -> None:
    q, p = both(rows)
    z = torch.stack([p.mu, q.mu, q.mu + 1])  # (3, 1, latent_dim): several codes for a row
    wanted = Normal(q.mu, (q.logvar / 2).exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(q.log_prob(z), wanted, rtol=1e-9, atol=1e-9)


def one_dimensional() -> tuple[LabelCVAE, Tensor, Tensor]:
    torch.manual_seed(5)
    model = LabelCVAE(latent_dim=1, width=8).double()
    with torch.no_grad():  # a code that matters, and a q of its own for each image
        for parameter in (*model.generation_net.parameters(), *model.recognition_net.parameters()):
            parameter.mul_(1.5)
    # So little ink, or so much, that the q of one image is a bad one for another.
    ink = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64).view(3, 1, 1).expand(3, 28, 28)
    return model, ink.bernoulli(generator=source(1)), torch.tensor([0, 4, 9])


def exact_log_likelihood(model: LabelCVAE, x: Tensor, labels: Tensor) -> Tensor:
    """Return log of the integral of p(x | z, c) N(z; 0, 1) over a fine grid of z."""
    z = torch.linspace(-9, 9, 6001, dtype=torch.float64)
    rows = []
    for image, label in zip(x, labels, strict=True):
        c = model.condition(label.expand(len(z)))
        pixels = Bernoulli(logits=model.generation_net(z[:, None], c))
        joint = pixels.log_prob(image).sum((1, 2)) + Normal(0.0, 1.0).log_prob(z)
        rows.append(joint.logsumexp(0) + math.log(18 / 6000))
    return torch.stack(rows)


@torch.no_grad()
def test_the_bound_tightens_from_the_elbo_to_the_integral() -> None:
    model, x, labels = one_dimensional()
    exact = exact_log_likelihood(model, x, labels)
    weights = objectives.log_importance_weights(model, x, labels, 12_000, source(0))
    bounds = {
        count: objectives.importance_weighted_bound(weights.view(3, -1, count)).mean(1)
        for count in (1, 10, 12_000)
    }
    draws, c = 4000, model.condition(labels)
    q = model.recognition_net(x, c)
    many = Gaussian(q.mu.repeat(draws, 1), q.logvar.repeat(draws, 1))
    logits = model.generation_net(many.sample(source(1)), c.repeat(draws, 1))
    pixels = bernoulli_log_likelihood(logits, x.repeat(draws, 1, 1)).view(draws, 3)
    elbo = pixels.mean(0) - gaussian_kl(q, model.prior_net(c)).sum(1)
    torch.testing.assert_close(bounds[1], elbo, atol=0.15, rtol=0)
    torch.testing.assert_close(bounds[12_000], exact, atol=0.1, rtol=0)
    assert (bounds[1] < bounds[10]).all()
    assert (bounds[10] < exact).all()


def test_the_bound_is_the_log_of_the_mean_weight_also_where_exp_would_overflow() -> None:
    weights = torch.tensor([[1.0, 2.0, 4.0], [8.0, 8.0, 8.0]], dtype=torch.float64)
    shift = torch.tensor([[-2000.0], [2000.0]], dtype=torch.float64)
    bound = objectives.importance_weighted_bound(weights.log() + shift)
    wanted = [math.log(7 / 3) - 2000, math.log(8) + 2000]
    assert bound.tolist() == pytest.approx(wanted, abs=1e-9)


@torch.no_grad()
def test_a_row_of_weights_belongs_to_one_image_and_its_label() -> None:
    model, x, labels = one_dimensional()
    swapped = torch.tensor([2, 0, 1])
    rows = objectives.log_importance_weights(model, x, labels, 4000, source(0)).mean(1)
    others = objectives.log_importance_weights(
        model, x[swapped], labels[swapped], 4000, source(1)
    ).mean(1)
    torch.testing.assert_close(others, rows[swapped], atol=0.3, rtol=0)
    assert rows.diff().abs().min() > 1  # or the line above could not fail


def test_the_learned_prior_is_part_of_the_weight(echo: ConditionalVAE) -> None:
    q = Gaussian(torch.zeros(1, 4), torch.zeros(1, 4))
    echo.recognition_net = lambda x, c: q  # type: ignore[assignment]
    x, labels = torch.zeros(1, 28, 28), torch.tensor([3])
    z = q.sample(source(7))
    likelihood = bernoulli_log_likelihood(echo.generation_net(z, echo.condition(labels)), x)
    wanted = likelihood + Normal(3, 0.1).log_prob(z).sum() - Normal(0, 1).log_prob(z).sum()
    weight = objectives.log_importance_weights(echo, x, labels, 1, source(7))
    torch.testing.assert_close(weight[:, 0], wanted, rtol=1e-5, atol=1e-3)


def test_no_samples_are_refused() -> None:
    model, x, labels = one_dimensional()
    with pytest.raises(ValueError, match=r"samples must be .*>= 1, got 0"):
        objectives.log_importance_weights(model, x, labels, 0)
