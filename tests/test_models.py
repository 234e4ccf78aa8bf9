"""The models: shapes, who sees the label, reproducible samples, errors that name the culprit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cvae_utils.models import (
    MODELS,
    VAE,
    Classifier,
    ConditionalVAE,
    ConvCVAE,
    Gaussian,
    LabelCVAE,
    build,
)
from cvae_utils.models.conv_cvae import Residual, label_planes
from tests.conftest import source

AUTOENCODERS: list[tuple[str, dict[str, Any]]] = [
    ("vae", {}),
    ("label_cvae", {"label_in": "both"}),
    ("label_cvae", {"label_in": "generation"}),
    ("conv_cvae", {"hidden": 16}),
]


def images(count: int) -> Tensor:
    return torch.rand(count, 28, 28, generator=source(0))


@pytest.fixture(params=AUTOENCODERS, ids=["vae", "both", "generation", "conv"])
def autoencoder(request: pytest.FixtureRequest) -> ConditionalVAE:
    """Each autoencoder with three latent dimensions and random weights."""
    name, config = request.param
    torch.manual_seed(1)
    model = build(name, latent_dim=3, width=8, **config)
    assert isinstance(model, ConditionalVAE)
    return model


# ---------------------------------------------------------------- Gaussian


def test_samples_have_the_mean_and_the_spread_that_logvar_says() -> None:
    mu, logvar = torch.tensor([-3.0, 0.0, 2.0]), torch.tensor([-4.0, 0.0, 2.0])
    z = Gaussian(mu.expand(50_000, 3), logvar.expand(50_000, 3)).sample(source(0))
    spread = [math.exp(-2), 1.0, math.exp(1)]  # exp(logvar / 2)
    assert z.std(0).tolist() == pytest.approx(spread, rel=0.02)
    for mean, wanted, std in zip(z.mean(0).tolist(), mu.tolist(), spread, strict=True):
        assert mean == pytest.approx(wanted, abs=5 * std / math.sqrt(50_000))


def test_std_is_exp_of_half_the_logvar() -> None:
    logvar = torch.tensor([[math.log(9.0), -math.log(4.0)]])
    assert Gaussian(torch.zeros(1, 2), logvar).std[0].tolist() == pytest.approx([3.0, 0.5])


def test_the_order_in_memory_has_no_say_in_the_noise() -> None:
    mu = torch.arange(12.0).view(4, 3)
    usual, turned = (Gaussian(m, torch.zeros(4, 3)) for m in (mu, mu.T.contiguous().T))
    assert torch.equal(turned.sample(source(0)), usual.sample(source(0)))


def test_dimensions_and_rows_get_noise_of_their_own() -> None:
    z = Gaussian(torch.zeros(20_000, 2), torch.zeros(20_000, 2)).sample(source(0))
    assert torch.corrcoef(z.T)[0, 1].abs() < 0.04
    assert len(z.unique()) > 39_000


def test_a_sample_keeps_shape_and_dtype() -> None:
    z = Gaussian(torch.zeros(5, 3).double(), torch.zeros(5, 3).double()).sample()
    assert (z.shape, z.dtype) == ((5, 3), torch.float64)


# ---------------------------------------------------------------- shapes and signs


def test_shapes(autoencoder: ConditionalVAE) -> None:
    x, labels = images(4), torch.tensor([0, 9, 3, 3])
    q = autoencoder.recognize(x, labels)
    assert q.mu.shape == q.logvar.shape == (4, 3)
    prior = autoencoder.prior_net(autoencoder.condition(labels))
    assert prior.mu.shape == prior.logvar.shape == (4, 3)
    for picture in (
        autoencoder.generate(torch.zeros(4, 3), labels),
        autoencoder.sample(labels),
        autoencoder.reconstruct(x, labels),
    ):
        assert picture.shape == (4, 28, 28)
        assert ((picture >= 0) & (picture <= 1)).all()


def test_the_prior_is_the_standard_normal(autoencoder: ConditionalVAE) -> None:
    prior = autoencoder.prior_net(autoencoder.condition(torch.arange(10)))
    assert torch.equal(prior.mu, torch.zeros(10, 3))
    assert torch.equal(prior.std, torch.ones(10, 3))


def test_means_and_logvars_take_both_signs(autoencoder: ConditionalVAE) -> None:
    # An activation after the last layer would cut one side off.
    with torch.no_grad():
        for parameter in autoencoder.recognition_net.parameters():
            parameter.mul_(6)
    q = autoencoder.recognize(images(200).round(), torch.arange(200) % 10)
    for values in q:
        assert values.min() < -1  # further down than a SiLU goes
        assert values.max() > 1


def test_reconstruct_generates_at_the_mean_of_the_posterior(autoencoder: ConditionalVAE) -> None:
    x, labels = images(4), torch.tensor([0, 9, 3, 3])
    q = autoencoder.recognize(x, labels)
    assert torch.equal(autoencoder.reconstruct(x, labels), autoencoder.generate(q.mu, labels))


def test_generate_gives_the_sigmoid_of_the_logits(autoencoder: ConditionalVAE) -> None:
    z, labels = torch.randn(4, 3, generator=source(2)), torch.tensor([0, 9, 3, 3])
    logits = autoencoder.generation_net(z, autoencoder.condition(labels))
    torch.testing.assert_close(autoencoder.generate(z, labels), 1 / (1 + (-logits).exp()))


def test_examples_of_a_batch_do_not_touch_one_another(autoencoder: ConditionalVAE) -> None:
    x, labels = images(4), torch.tensor([0, 9, 3, 3])
    alone = autoencoder.reconstruct(x[2:3], labels[2:3])
    torch.testing.assert_close(autoencoder.reconstruct(x, labels)[2:3], alone)


# ---------------------------------------------------------------- who sees the label


def sees_label(function: Callable[[Tensor], Tensor]) -> bool:
    """Whether the output for an example depends on its label."""
    return not torch.equal(function(torch.tensor([1, 2])), function(torch.tensor([8, 2])))


@pytest.mark.parametrize(
    ("name", "config", "recognition", "generation"),
    [
        ("vae", {}, False, False),
        ("label_cvae", {}, True, True),  # "both" is the default
        ("label_cvae", {"label_in": "both"}, True, True),
        ("label_cvae", {"label_in": "generation"}, False, True),
        ("conv_cvae", {}, True, True),
    ],
)
def test_who_sees_the_label(
    name: str, config: dict[str, Any], recognition: bool, generation: bool
) -> None:
    torch.manual_seed(1)
    model = build(name, latent_dim=3, width=8, **config)
    assert isinstance(model, ConditionalVAE)
    x, z = images(2), torch.randn(2, 3, generator=source(3))
    assert sees_label(lambda labels: model.recognize(x, labels).mu) is recognition
    assert sees_label(lambda labels: model.recognize(x, labels).logvar) is recognition
    assert sees_label(lambda labels: model.generate(z, labels)) is generation
    assert sees_label(lambda labels: model.sample(labels, source(4))) is generation
    # The other example's output stays as it was: a label touches its own row only.
    first, second = (model.generate(z, torch.tensor([label, 2])) for label in (1, 8))
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_config_of_numpys_whole_numbers_is_one_of_plain_ones(name: str) -> None:
    """Or a checkpoint could not be written, since JSON knows no other."""
    config = {"width": 4} if name == "classifier" else {"width": 4, "latent_dim": 2}
    model = build(name, **{key: np.int64(value) for key, value in config.items()})
    assert model.config == build(name, **config).config
    assert not {type(value) for value in model.config.values()} - {int, str, float}


def test_the_condition_is_the_one_hot_label_or_empty() -> None:
    wanted = torch.tensor([[0.0, 0, 1, 0, 0, 0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0, 0, 0, 0, 0, 1]])
    assert torch.equal(LabelCVAE(width=8).condition(torch.tensor([2, 9])), wanted)
    assert VAE(width=8).condition(torch.tensor([2, 9])).shape == (2, 0)


# ---------------------------------------------------------------- the label as image channels


def test_a_label_plane_is_one_number_everywhere() -> None:
    c = torch.tensor([[0.0, 1.0, 0.5], [2.0, 0.0, 0.0]])
    planes = label_planes(c, 4)
    assert planes.shape == (2, 3, 4, 4)
    assert torch.equal(planes, c.repeat_interleave(16, dim=1).view(2, 3, 4, 4))


def test_the_first_convolution_sees_the_image_and_ten_planes() -> None:
    model = ConvCVAE(latent_dim=3, width=4, hidden=8)
    seen: list[Tensor] = []
    first = model.recognition_net.get_submodule("halve")
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = images(2)
    model.recognize(x, torch.tensor([7, 0]))
    (channels,) = seen
    assert channels.shape == (2, 11, 28, 28)
    assert torch.equal(channels[:, 0], x)
    assert torch.equal(channels[:, 1:].mean((2, 3)).argmax(1), torch.tensor([7, 0]))
    assert set(channels[:, 1:].unique().tolist()) == {0.0, 1.0}


def test_a_residual_block_starts_as_the_identity_and_can_leave_it() -> None:
    block, h = Residual(4), torch.randn(2, 4, 7, 7, generator=source(0))
    with torch.no_grad():
        block.get_parameter("second.bias").zero_()
        assert torch.equal(block(h), h)
        block.second.weight.normal_(generator=source(1))
        assert not torch.allclose(block(h), h, atol=0.1)


def test_channels_last_is_only_an_order_in_memory() -> None:
    torch.manual_seed(0)
    model = ConvCVAE(latent_dim=3, width=8, hidden=16)
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last) for m in convolutions)
    x, labels = images(4), torch.tensor([0, 9, 3, 3])
    before = model.reconstruct(x, labels)
    model.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(model.reconstruct(x, labels), before, rtol=0, atol=1e-5)


# ---------------------------------------------------------------- build


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("vae", {"latent_dim": 2, "width": 5}),
        ("label_cvae", {"latent_dim": 4, "width": 6, "label_in": "generation"}),
        ("conv_cvae", {"latent_dim": 4, "width": 6, "hidden": 5}),
        ("classifier", {"width": 3}),
        ("cgan", {"latent_dim": 4, "width": 6, "hidden": 5, "temperature": 1.0, "num_classes": 26}),
    ],
)
def test_name_and_config_rebuild_a_model(name: str, config: dict[str, Any]) -> None:
    model = build(name, **config)
    assert model.name == name
    assert model.config == {"num_classes": 10} | config
    again = build(model.name, **model.config)
    again.load_state_dict(model.state_dict())  # raises where a shape differs
    sizes = [parameter.numel() for parameter in again.parameters()]
    assert sizes == [parameter.numel() for parameter in model.parameters()]


@pytest.mark.parametrize("name", MODELS)
def test_the_config_of_a_default_model_is_complete(name: str) -> None:
    defaults = build(name)
    assert build(name, **defaults.config).config == defaults.config
    assert "width" in defaults.config


@pytest.mark.parametrize(
    ("name", "config", "error", "message"),
    [
        ("flow", {}, ValueError, r"name must be one of 'vae', .*got 'flow'"),
        ("vae", {"latent_dim": 0}, ValueError, r"latent_dim must be .*>= 1, got 0"),
        ("vae", {"width": -1}, ValueError, r"width must be .*>= 1, got -1"),
        ("vae", {"width": 8.0}, TypeError, r"width must be a whole number.*8\.0 \(float\)"),
        ("vae", {"label_in": "both"}, TypeError, "label_in"),
        ("label_cvae", {"latent_dim": 0}, ValueError, r"latent_dim must be .*>= 1, got 0"),
        ("label_cvae", {"width": 0}, ValueError, r"width must be .*>= 1, got 0"),
        (
            "label_cvae",
            {"label_in": "recognition"},
            ValueError,
            r"label_in must be one of 'both', 'generation', got 'recognition'",
        ),
        ("gan", {"latent_dim": 0}, ValueError, r"latent_dim must be .*>= 1, got 0"),
        ("cgan", {"width": 1}, ValueError, r"width must be .*>= 2, got 1"),
        ("cgan", {"hidden": 1}, ValueError, r"hidden must be .*>= 2, got 1"),
        ("conv_cvae", {"latent_dim": 0}, ValueError, r"latent_dim must be .*>= 1, got 0"),
        ("conv_cvae", {"width": 1}, ValueError, r"width must be .*>= 2, got 1"),
        ("conv_cvae", {"hidden": 0}, ValueError, r"hidden must be .*>= 1, got 0"),
        ("classifier", {"width": 0}, ValueError, r"width must be .*>= 1, got 0"),
    ],
)
def test_build_refuses_what_no_model_has(
    name: str, config: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(name, **config)


# ---------------------------------------------------------------- sampling


def test_the_generator_decides_the_sample(autoencoder: ConditionalVAE) -> None:
    labels = torch.arange(10)
    first = autoencoder.sample(labels, source(5))
    torch.manual_seed(99)  # the global generator has no say
    assert torch.equal(autoencoder.sample(labels, source(5)), first)
    assert not torch.equal(autoencoder.sample(labels, source(6)), first)


def test_without_a_generator_samples_differ(autoencoder: ConditionalVAE) -> None:
    labels = torch.arange(10)
    assert not torch.equal(autoencoder.sample(labels), autoencoder.sample(labels))


def test_a_sample_is_drawn_from_the_prior_of_its_label(echo: ConditionalVAE) -> None:
    # This model's prior has mean = label, and its images tell the code that they are drawn from.
    labels = torch.tensor([2] * 500 + [5] * 500)
    z = torch.logit(echo.sample(labels, source(7)))[:, 0, :4]
    assert z[:500].mean(0).tolist() == pytest.approx([2] * 4, abs=0.03)
    assert z[500:].mean(0).tolist() == pytest.approx([5] * 4, abs=0.03)
    assert z[:500].std(0).tolist() == pytest.approx([0.1] * 4, abs=0.02)


# ---------------------------------------------------------------- wrong inputs

X, Z, LABELS = images(2), torch.zeros(2, 3), torch.tensor([1, 2])
WRONG_LABELS = [
    (torch.tensor([1, 10]), "from 1 to 10", "0 to 9"),
    (torch.tensor([-1, 2]), "from -1 to 2", "0 to 9"),
    (torch.tensor([1.0, 2.0]), "torch.float32", "int64"),
    (torch.tensor([[1, 2]]), "(1, 2)", "int64 tensor of shape ("),
    (torch.zeros(0, dtype=torch.int64), "empty batch", "int64 tensor of shape ("),
]
WRONG_IMAGES = [
    ((X * 255).byte(), "torch.uint8", "floating-point"),
    (X + 0.5, "to 1.", "[0, 1]"),
    (X * math.nan, "nan", "[0, 1]"),
    (X[0], "(28, 28)", "(B, 28, 28)"),
    (X.flatten(1), "(2, 784)", "(B, 28, 28)"),
    (X[:0], "empty batch", "(B, 28, 28)"),
]
WRONG_CODES = [
    (torch.zeros(2, 4), "(2, 4)", "(2, 3)"),
    (torch.zeros(3, 3), "(3, 3)", "(2, 3)"),
    (torch.zeros(3), "(3,)", "(2, 3)"),
    (torch.zeros(2, 3).long(), "torch.int64", "floating-point"),
    (torch.full((2, 3), math.nan), "not finite", "finite"),
]
Wrong = tuple[Tensor, str, str]


def assert_refused(name: str, came: str, wanted: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
        call()
    demand, _, report = str(caught.value).partition(", got ")
    assert wanted in demand
    assert came in report


@pytest.mark.parametrize("wrong", WRONG_LABELS, ids=lambda wrong: wrong[1])
def test_wrong_labels_are_refused(autoencoder: ConditionalVAE, wrong: Wrong) -> None:
    labels, came, wanted = wrong
    assert_refused("labels", came, wanted, lambda: autoencoder.sample(labels))
    assert_refused("labels", came, wanted, lambda: autoencoder.recognize(X, labels))
    assert_refused("labels", came, wanted, lambda: autoencoder.reconstruct(X, labels))


@pytest.mark.parametrize("wrong", WRONG_LABELS[:3], ids=lambda wrong: wrong[1])
def test_wrong_labels_are_refused_by_generate(autoencoder: ConditionalVAE, wrong: Wrong) -> None:
    labels, came, wanted = wrong
    assert_refused("labels", came, wanted, lambda: autoencoder.generate(Z, labels))


@pytest.mark.parametrize("wrong", WRONG_IMAGES, ids=lambda wrong: wrong[1])
def test_wrong_images_are_refused(autoencoder: ConditionalVAE, wrong: Wrong) -> None:
    x, came, wanted = wrong
    assert_refused("x", came, wanted, lambda: autoencoder.recognize(x, LABELS))
    assert_refused("x", came, wanted, lambda: autoencoder.reconstruct(x, LABELS))
    assert_refused("x", came, wanted, lambda: Classifier(width=2).read(x))


@pytest.mark.parametrize("wrong", WRONG_CODES, ids=lambda wrong: wrong[1])
def test_wrong_codes_are_refused(autoencoder: ConditionalVAE, wrong: Wrong) -> None:
    z, came, wanted = wrong
    assert_refused("z", came, wanted, lambda: autoencoder.generate(z, LABELS))


def test_labels_of_another_number_than_images_are_refused(autoencoder: ConditionalVAE) -> None:
    assert_refused("labels", "(2,)", "(1,)", lambda: autoencoder.recognize(X[:1], LABELS))


def test_what_is_no_tensor_is_a_type_error(autoencoder: ConditionalVAE) -> None:
    calls: list[tuple[str, str, Callable[[Any], object]]] = [
        ("x", "list", lambda it: autoencoder.recognize(it, LABELS)),
        ("x", "list", lambda it: Classifier(width=2).read(it)),
        ("labels", "list", lambda it: autoencoder.recognize(X, it)),
        ("labels", "list", autoencoder.sample),
        ("labels", "list", lambda it: autoencoder.generate(Z, it)),
        ("z", "list", lambda it: autoencoder.generate(it, LABELS)),
    ]
    for name, kind, call in calls:
        with pytest.raises(TypeError, match=rf"^{name} must be .*{re.escape(f'({kind})')}"):
            call([1, 2])


# ---------------------------------------------------------------- classifier


def test_the_classifier_maps_images_to_ten_logits() -> None:
    assert Classifier(width=2)(images(3)).shape == (3, 10)


def test_reading_is_the_largest_logit_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    classifier = Classifier(width=2)
    with torch.no_grad():
        for _ in range(3):  # gives the batch norms other statistics than those of one batch
            classifier(images(50))
    x = images(1200)  # more than are read at a time
    read = classifier.train().read(x)  # read must not depend on the batch, so not on train mode
    assert (read.shape, read.dtype) == ((1200,), torch.int64)
    logits = classifier.eval()(x[:20])
    assert read[:20].tolist() == [row.index(max(row)) for row in logits.tolist()]
    assert torch.equal(classifier.read(x[1100:]), read[1100:])
