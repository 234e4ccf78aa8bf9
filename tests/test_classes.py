"""Other numbers of classes than ten: what is drawn, learned, kept, measured, shown and refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from torch import nn

from cvae_utils import checkpoints, data, evaluation, objectives, plotting, training, widgets
from cvae_utils.checkpoints import Provenance
from cvae_utils.cli import main
from cvae_utils.evaluation import Reference
from cvae_utils.models import VAE, Classifier, InpaintingCVAE, build
from tests.test_plotting import only_axes

SIZES: dict[str, dict[str, Any]] = {
    "vae": {"latent_dim": 3, "width": 16},
    "label_cvae": {"latent_dim": 3, "width": 16},
    "conv_cvae": {"latent_dim": 3, "width": 4, "hidden": 16},
    "gan": {"latent_dim": 3, "width": 4, "hidden": 16},
    "cgan": {"latent_dim": 3, "width": 4, "hidden": 16},
}
HEARING = ("label_cvae", "conv_cvae", "cgan")
NUMBERS = pytest.mark.parametrize("n", [2, 3, 26])


def generator(name: str, n: int) -> Any:
    torch.manual_seed(1)
    return build(name, **SIZES[name], num_classes=n).eval().requires_grad_(False)


def judge(n: int) -> Classifier:
    torch.manual_seed(1)
    return Classifier(width=2, num_classes=n).eval()


def bars(n: int, each: int = 8) -> data.Split:
    """`each` images of every label; the label says in which row a bar begins, and how long."""
    labels = torch.arange(n * each) % n
    images = torch.randint(
        40, (n * each, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    for image, label in zip(images, labels.tolist(), strict=True):
        image[label % 26 : label % 26 + 2, : 6 + label // 2] = 255
    return data.Split(images, labels, n)


# ---------------------------------------------------------------- models


@NUMBERS
@pytest.mark.parametrize("name", SIZES)
def test_every_label_is_drawn_and_the_next_one_refused(name: str, n: int) -> None:
    model = generator(name, n)
    drawn, labels = evaluation.sample_labels(model, 2)
    assert drawn.shape == (2 * n, 28, 28)
    assert labels.tolist() == [label for label in range(n) for _ in range(2)]
    assert model.condition(labels).shape == (2 * n, n if name in HEARING else 0)
    with pytest.raises(ValueError, match=rf"^labels must .* 0 to {n - 1}, got labels from {n} to"):
        model.sample(torch.tensor([n]))
    # One code for all labels: who hears them draws a picture of its own for each.
    apart = nn.functional.pdist(model.generate(torch.ones(n, 3), torch.arange(n)).flatten(1))
    assert apart.min() > 1e-3 if name in HEARING else apart.max() < 1e-3


@NUMBERS
@pytest.mark.parametrize("name", [*SIZES, "classifier"])
def test_a_checkpoint_keeps_the_number(name: str, n: int, tmp_path: Path) -> None:
    model = judge(n) if name == "classifier" else generator(name, n)
    path = tmp_path / "some.safetensors"
    checkpoints.save(path, model, Provenance(name, model.config))
    again, _ = checkpoints.load(path)
    assert type(again) is type(model)
    assert again.num_classes == n
    assert again.config == model.config
    for key, weights in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], weights)


@pytest.mark.parametrize("n", [3, 26])
@pytest.mark.parametrize("name", ["label_cvae", "conv_cvae", "classifier"])
def test_training_takes_all_labels(name: str, n: int) -> None:
    model = judge(n) if name == "classifier" else generator(name, n)
    model.requires_grad_(True)
    objective: Any = objectives.cross_entropy if name == "classifier" else objectives.negative_elbo
    train = bars(n, each=260 // n)
    history = training.fit(model, objective, train, epochs=4, batch_size=8, max_learning_rate=1e-2)
    loss = history.curve("loss")
    assert loss[-1] < 0.9 * loss[0]


@pytest.mark.parametrize("n", [3, 26])
def test_a_game_has_a_verdict_for_each_label(n: int) -> None:
    model = generator("cgan", n).requires_grad_(True)
    before = model.discriminator_net.verdicts.weight.detach().clone()
    training.fit(model, objectives.adversarial(), bars(n), epochs=1, prepare=data.grey)
    moved = (model.discriminator_net.verdicts.weight != before).any(1)
    assert moved.tolist() == [True] * (1 + n)  # the first is for all of them


# ---------------------------------------------------------------- measures


@pytest.mark.parametrize("n", [3, 26])
@pytest.mark.parametrize("name", SIZES)
def test_samples_are_scored_label_by_label(
    name: str, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation.samples, "REPEATS", 2)
    model, split = generator(name, n), bars(n)
    reference = Reference(judge(n), split, split)
    scores = reference.scores(*evaluation.sample_labels(model, 2))
    assert scores.frechet_per_label.shape == scores.coverage_per_label.shape == (n,)
    assert evaluation.label_faithfulness(model, reference.judge, per_label=2) == scores.faithfulness
    changes = evaluation.effects(model, 0, count=2)
    assert all(math.isfinite(change) for change in changes.values())


def test_real_images_of_many_labels_cover_themselves() -> None:
    split = bars(26)
    scores = Reference(judge(26), split, split).scores(data.to_unit(split.images), split.labels)
    assert scores.coverage.value == 1
    assert scores.coverage_per_label.tolist() == [1] * 26


CVAE, JUDGE = generator("label_cvae", 26), judge(26)
TEN, FEW = bars(10), bars(26)
MISFITS: list[tuple[str, Callable[[], object]]] = [
    ("split", lambda: evaluation.elbo(CVAE, TEN)),
    ("split", lambda: evaluation.kl_per_dimension(CVAE, TEN)),
    ("split", lambda: evaluation.accuracy(JUDGE, TEN)),
    ("split", lambda: evaluation.hole_scores(InpaintingCVAE(2, 2, 4), JUDGE, TEN,
                                             torch.zeros(28, 28))),
    ("train", lambda: evaluation.label_probe(CVAE, TEN, FEW)),
    ("test", lambda: evaluation.label_probe(CVAE, FEW, TEN)),
    ("train", lambda: Reference(JUDGE, TEN, FEW)),
    ("test", lambda: Reference(JUDGE, FEW, TEN)),
    ("classifier", lambda: evaluation.label_faithfulness(CVAE, judge(10))),
    ("test", lambda: evaluation.measure(CVAE, TEN)),
    ("reference", lambda: evaluation.measure(CVAE, FEW,
                                             reference=Reference(judge(10), TEN, TEN))),
    ("train", lambda: training.fit(CVAE, objectives.negative_elbo, TEN, epochs=1)),
    ("train", lambda: training.fit(JUDGE, objectives.cross_entropy, TEN, epochs=1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "call"), MISFITS)
def test_two_numbers_of_classes_are_named(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must have num_classes = 26 as .*, got 10$"):
        call()


def test_what_is_told_no_labels_takes_any_split() -> None:
    torch.manual_seed(0)
    model, objective = (
        InpaintingCVAE(2, 2, 4),
        objectives.inpainting(lambda n, _: torch.zeros(n, 28, 28)),
    )
    assert len(training.fit(model, objective, FEW, prepare=data.nudge, epochs=1).epochs) == 1
    assert evaluation.elbo(VAE(2, 4, num_classes=26), FEW).negative_elbo > 0

    def square(model: nn.Module, x: torch.Tensor, *_: object) -> dict[str, torch.Tensor]:
        return {"loss": model(x.flatten(1)).square().sum(1)}

    plain = nn.Linear(784, 2)  # somebody's own, which says nothing of classes
    assert len(training.fit(plain, square, FEW, epochs=1).epochs) == 1


def test_a_split_keeps_its_number() -> None:
    split = bars(26)
    assert split.take(3).num_classes == split.to("cpu").num_classes == 26
    with pytest.raises(ValueError, match=r"^labels must be .* 0 to 24, got labels from 0 to 25"):
        data.Split(split.images, split.labels, 25)


# ---------------------------------------------------------------- pictures


def names(n: int) -> list[str]:
    return [f"class {label}" for label in range(n)]


@NUMBERS
def test_the_apps_go_through_all_labels(n: int) -> None:
    model, split = generator("label_cvae", n), bars(n)
    images = data.to_unit(split.images)
    style = widgets.StyleExplorer(model, images, split.labels, names(n))
    assert style.draw().shape == (3 * (1 + n), 28, 28)
    morph = widgets.MorphExplorer(model, names(n))
    assert morph.first.value != morph.last.value
    duel = widgets.DuelExplorer({"a": model, "b": generator("cgan", n)}, names(n))
    digit = widgets.DigitExplorer(model, classes=names(n))
    for app in (style, duel, digit):
        before = app.picture.value
        assert [name for name, _ in app.digit.options] == names(n)
        app.digit.value = 0 if app.digit.value == n - 1 else n - 1
        assert app.message.value == ""
        assert app.picture.value != before


def test_apps_want_a_name_for_each_label() -> None:
    model = generator("label_cvae", 26)
    apps: list[Callable[..., object]] = [
        lambda: widgets.DigitExplorer(model),
        lambda: widgets.MorphExplorer(model, names(25)),
        lambda: widgets.DuelExplorer({"a": generator("cgan", 10), "b": model}),
    ]
    for app in apps:
        with pytest.raises(ValueError, match=r"^classes must be a sequence of 26 different names"):
            app()
    with pytest.raises(ValueError, match=r"^digit must be a whole number from 0 to 25, got 26"):
        widgets.DigitExplorer(model, digit=26, classes=names(26))


@pytest.mark.parametrize("n", [2, 12, 47])
def test_a_latent_map_has_a_colour_and_a_name_for_each_label(n: int) -> None:
    labels = torch.arange(2 * n) % n
    codes = torch.stack([labels * 10.0, labels * -5.0], dim=1)
    axes = only_axes(plotting.latent_scatter(codes, labels, classes=names(n)))
    assert [text.get_text() for text in axes.texts] == names(n)
    layers = [layer for layer in axes.collections if isinstance(layer, PathCollection)]
    colours = np.array([np.asarray(layer.get_facecolor())[0][:3] for layer in layers])
    assert len(colours) == n
    assert nn.functional.pdist(torch.from_numpy(colours)).min() > 0.05
    with pytest.raises(ValueError, match=f"^labels must be .* 0 to {n - 1}, got labels from 0 to"):
        plotting.latent_scatter(codes[:1].repeat(2, 1), torch.tensor([0, n]), classes=names(n))


@pytest.mark.parametrize("about", [{"name": "letters"}, {"name": "mnist"}, {"classes": names(26)}])
def test_sample_writes_a_row_for_each_label(
    about: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[list[str]] = []
    draw = plotting.digit_grid
    monkeypatch.setattr(
        plotting,
        "digit_grid",
        lambda x, n, texts: rows.append(texts) or draw(x, n, texts),  # type: ignore[func-returns-value]
    )
    model, path = generator("label_cvae", 26), tmp_path / "some.safetensors"
    checkpoints.save(path, model, Provenance(model.name, model.config, data=about))
    assert main(["sample", str(path), "--out", str(tmp_path / "a.png"), "--per-label", "1"]) == 0
    assert rows == [about.get("classes", [str(label) for label in range(26)])]
