"""The command line: train, evaluate and sample on the real data, and what it says when it fails."""

from __future__ import annotations

import _thread
import contextlib
import csv
import dataclasses
import io
import json
import math
import re
import runpy
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image
from scipy.stats import binomtest  # type: ignore[import-untyped]

from cvae_utils import (
    checkpoints,
    cli,
    data,
    distributed,
    evaluation,
    masks,
    objectives,
    plotting,
    training,
)
from cvae_utils.cli import main
from cvae_utils.models import CGAN, MODELS, Classifier, InpaintingCVAE, LabelCVAE, build
from tests import conftest
from tests.conftest import full_disk

SMALL = ["--epochs", "1", "--width", "16", "--batch-size", "200", "--device", "cpu"]
Captured = pytest.CaptureFixture[str]
Few = Callable[..., data.Dataset]


@pytest.fixture(scope="module", autouse=True)
def dataset() -> Iterator[data.Dataset]:
    """Real digits, enough to learn a little from: the command line loads no more in this file."""
    whole = data.load()
    less = dataclasses.replace(whole, train=whole.train.take(4000), test=whole.test.take(1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda name="mnist": less)
        yield less


@pytest.fixture
def few(dataset: data.Dataset, monkeypatch: pytest.MonkeyPatch) -> Few:
    """Make the command line load so many digits, and no more."""

    def load(train: int, test: int) -> data.Dataset:
        less = dataclasses.replace(
            dataset, train=dataset.train.take(train), test=dataset.test.take(test)
        )
        monkeypatch.setattr(data, "load", lambda name="mnist": less)
        return less

    return load


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """A checkpoint that the command line trained, its arguments, and what was printed."""
    path = tmp_path_factory.mktemp("cli") / "a new one" / "tiny.safetensors"
    arguments = ["train", "label_cvae", "--out", str(path), *SMALL]
    arguments += ["--latent-dim", "2", "--label-in", "generation", "--seed", "5"]
    arguments += ["--max-learning-rate", "1e-2", "--importance-samples", "4"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(arguments) == 0
    return path, arguments, printed.getvalue()


@pytest.fixture
def inpainting_checkpoint(tmp_path: Path) -> Path:
    """An inpainting model with random weights, of which every code gives another picture."""
    torch.manual_seed(0)
    model = InpaintingCVAE(latent_dim=3, width=4, hidden=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    path = tmp_path / "inpainting.safetensors"
    provenance = checkpoints.Provenance(
        model=model.name, config=model.config, data={"name": "mnist"}
    )
    checkpoints.save(path, model, provenance)
    return path


# ---------------------------------------------------------------- train


def test_the_seed_alone_decides_and_the_callers_random_numbers_stay(
    tmp_path: Path, few: Few, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notebooks call `prepare`: what they draw afterwards must not depend on it."""
    few(200, 100)
    monkeypatch.setattr(evaluation, "measure", lambda *_: {})
    begun, ended = [], []
    fit = training.fit

    def watched(model: torch.nn.Module, *rest: Any, **settings: Any) -> training.History:
        begun.append(conftest.weights(model))
        return fit(model, *rest, **settings)

    monkeypatch.setattr(training, "fit", watched)
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        out = tmp_path / f"{seed}.safetensors"
        assert main(["train", "vae", "--out", str(out), "--seed", "5", *SMALL]) == 0
        assert torch.equal(torch.get_rng_state(), before)
        ended.append(conftest.weights(checkpoints.load(out)[0]))
    torch.manual_seed(5)
    assert torch.equal(begun[0], conftest.weights(build("vae", width=16)))
    assert torch.equal(*ended)


def test_train_writes_a_loadable_checkpoint(trained: tuple[Path, list[str], str]) -> None:
    path, _, _ = trained
    model, _ = checkpoints.load(path)
    assert isinstance(model, LabelCVAE)
    said = {"latent_dim": 2, "width": 16, "label_in": "generation"}
    assert model.config == said | {"num_classes": 10}
    assert model.sample(torch.arange(10)).isfinite().all()
    assert [file.name for file in path.parent.iterdir()] == ["tiny.safetensors"]


def test_train_records_what_produced_the_weights(
    trained: tuple[Path, list[str], str], dataset: data.Dataset
) -> None:
    path, arguments, printed = trained
    _, provenance = checkpoints.load(path)
    assert shlex.split(provenance.command) == ["python", "-m", "cvae_utils", *arguments]
    assert provenance.training["seed"] == 5
    assert provenance.training["epochs"] == 1
    assert provenance.training["batch_size"] == 200
    assert provenance.training["device"] == "cpu"
    assert provenance.training["torch"] == torch.__version__
    assert 0 <= provenance.training["seconds"] < 600
    assert provenance.data["fingerprint"] == dataset.fingerprint
    assert provenance.data["train"] == len(dataset.train)
    metrics = provenance.metrics
    parts = metrics["reconstruction"] + metrics["kl"]
    assert metrics["negative_elbo"] == pytest.approx(parts, abs=0.001)
    # Better than 784 log 2 = 543, a guess of 1/2 for each pixel, and far from a trained model.
    assert 150 < metrics["negative_elbo"] < 543
    assert json.dumps(metrics) in printed
    assert f"wrote {path}" in printed


def test_the_same_command_gives_the_same_weights(
    trained: tuple[Path, list[str], str], tmp_path: Path
) -> None:
    path, arguments, _ = trained
    again = tmp_path / "again.safetensors"
    torch.seed()  # a fresh process would start anywhere, too
    words = [str(again) if word == str(path) else word for word in arguments]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([*words, "--resume"]) == 0  # there is nothing to go on with
    assert f"{again}.run, an unfinished run, is not there" in printed.getvalue()
    first, second = (checkpoints.load_vae(file).state_dict() for file in (path, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_train_takes_a_classifier_too_and_the_defaults_of_its_model(tmp_path: Path) -> None:
    path = tmp_path / "judge.safetensors"
    with contextlib.redirect_stdout(io.StringIO()):
        arguments = ["train", "classifier", "--out", str(path), *SMALL]
        assert main([*arguments, "--width", "1"]) == 0
    model, provenance = checkpoints.load(path)
    assert isinstance(model, Classifier)
    assert model.config == {"width": 1, "num_classes": 10}
    assert set(provenance.metrics) == {"accuracy"}
    assert 0 <= provenance.metrics["accuracy"] <= 1


def test_train_and_evaluate_an_inpainting_model(tmp_path: Path, capsys: Captured, few: Few) -> None:
    few(train=2000, test=50)  # each of the latter is filled a hundred times
    path = tmp_path / "hole.safetensors"
    small = ["--epochs", "1", "--width", "2", "--hidden", "4", "--latent-dim", "2"]
    quick = ["--device", "cpu", "--importance-samples", "2"]
    words = ["train", "inpainting_cvae", "--out", str(path), *quick, *small]
    assert main([*words, "--mask", "quadrants-3", "--precision", "bfloat16"]) == 0
    model, provenance = checkpoints.load(path)
    assert isinstance(model, InpaintingCVAE)
    assert provenance.training["mask"] == "quadrants-3"
    assert provenance.training["precision"] == "bfloat16"
    parts = ("negative_elbo_{}", "nll_{}", "nll_{}_error", "nll_prior_{}")
    assert set(provenance.metrics) == {part.format("quadrants-3") for part in parts}
    elbo, nll = (provenance.metrics[part.format("quadrants-3")] for part in parts[:2])
    assert 0 < nll < elbo < 196 * math.log(2)  # better than a coin, and the ELBO is the looser
    capsys.readouterr()
    assert main(["evaluate", str(path), "--json", *quick]) == 0
    (figures,) = json.loads(capsys.readouterr().out)["figures"].values()
    again = {name: figures.pop(name) for name in provenance.metrics}
    assert again == pytest.approx(provenance.metrics, abs=1e-3)
    # With the judge at hand, what stands in the hole is scored too.
    best = [figures[f"best_of_{number}_quadrants-3"] for number in (1, 10, 100)]
    assert best == sorted(best, reverse=True)
    assert figures["read_original_quadrants-3"] > figures["read_unfilled_quadrants-3"] > 0.1


def test_train_and_evaluate_a_cgan(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, few: Few
) -> None:
    few(train=2000, test=500)
    monkeypatch.setattr("cvae_utils.evaluation.report.PER_LABEL", 50)
    path = tmp_path / "cgan.safetensors"
    words = ["train", "cgan", "--out", str(path), "--epochs", "1", "--batch-size", "500"]
    words += ["--width", "4", "--hidden", "8", "--latent-dim", "2", "--device", "cpu"]
    assert main([*words, "--penalty", "0.5"]) == 0
    model, provenance = checkpoints.load_gan(path), checkpoints.load(path)[1]
    assert isinstance(model, CGAN)
    assert provenance.training["penalty"] == 0.5
    metrics = provenance.metrics
    assert metrics["faithfulness_low"] <= metrics["faithfulness"] < 0.5  # it has learned little
    assert metrics["coverage"] < 0.2
    assert metrics["frechet"] > 0
    assert "negative_elbo" not in metrics
    capsys.readouterr()
    assert main(["evaluate", str(path), "--json", "--device", "cpu"]) == 0
    (figures,) = json.loads(capsys.readouterr().out)["figures"].values()
    assert figures == pytest.approx(metrics, abs=2e-3)


def test_evaluate_all_writes_the_comparison_as_csv_and_markdown(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, few: Few
) -> None:
    monkeypatch.setattr(evaluation.report, "COMPARED", {"vae": "VAE", "cgan": "conditional GAN"})
    dataset = few(train=2000, test=500)
    monkeypatch.setattr(evaluation.report, "PER_LABEL", 50)
    words = ["evaluate", "--all", "--importance-samples", "2", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "new")]) == 0
    captured = capsys.readouterr()
    files = sorted(file.name for file in (tmp_path / "new").iterdir())
    assert files == ["comparison.csv", "comparison.md", "holes.csv", "holes.md"]
    with (tmp_path / "new" / "comparison.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["vae", "cgan", "real training digits", "real test digits"]
    assert float(rows["vae"]["nll"]) < float(rows["vae"]["negative_elbo"])
    assert rows["cgan"]["negative_elbo"] == ""
    assert float(rows["cgan"]["faithfulness"]) > 0.9
    assert float(rows["real test digits"]["coverage"]) == 1  # the reference itself
    assert float(rows["real training digits"]["nearest"]) == pytest.approx(0, abs=0.01)
    assert float(rows["real training digits"]["faithfulness"]) > 0.9
    table = (tmp_path / "new" / "comparison.md").read_text()
    assert table in captured.out
    assert [line.split("|")[1].strip() for line in table.splitlines()] == [
        "model", ":---------------------", "VAE", "conditional GAN", "real training digits",
        "real test digits",
    ]  # fmt: skip
    assert ("no test figure" in captured.err) is not dataset.complete


def test_evaluate_all_wants_weights_that_have_learned_the_data(
    tmp_path: Path, dataset: data.Dataset, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Also with a judge of that data: the figures would be of one data set's weights on another."""
    other = dataclasses.replace(dataset, name="kmnist")
    monkeypatch.setattr(data, "load", lambda _: other)
    judge, path = Classifier(width=1), tmp_path / "judge.safetensors"
    provenance = checkpoints.Provenance(judge.name, judge.config, data={"name": "kmnist"})
    checkpoints.save(path, judge, provenance)
    words = ["evaluate", "--all", "--data", "kmnist", "--judge", str(path), "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "tables")]) == 1
    said = capsys.readouterr().err
    assert re.search(r"no checkpoint .*kmnist.vae.*`python -m cvae_utils prepare kmnist`", said)
    assert not (tmp_path / "tables").exists()


def test_evaluate_all_without_codes_leaves_their_column_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: Few
) -> None:
    monkeypatch.setattr(evaluation.report, "COMPARED", {"vae": "VAE"})
    monkeypatch.setattr(evaluation.report, "PER_LABEL", 20)
    few(train=2000, test=500)
    words = ["evaluate", "--all", "--importance-samples", "0", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    with (tmp_path / "comparison.csv").open() as file:
        (vae, *_) = csv.DictReader(file)
    assert vae["nll"] == vae["nll_error"] == ""
    assert float(vae["negative_elbo"]) > 0


@pytest.mark.parametrize("missing", ["cgan", "inpainting_quadrants_3_plain"])
def test_evaluate_finds_what_is_missing_before_it_measures(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(checkpoints.folder(), folder, ignore=shutil.ignore_patterns(f"{missing}.*"))
    monkeypatch.setattr(checkpoints, "folder", lambda trained_on=None: folder)
    for measures in ("measure", "compare"):
        monkeypatch.setattr(evaluation, measures, lambda *_, **__: pytest.fail("too early"))
    for words in (["--all", "--out", str(tmp_path / "tables")], ["vae", missing]):
        assert main(["evaluate", *words, "--device", "cpu"]) == 1
        assert f"no checkpoint {folder / missing}" in capsys.readouterr().err
    assert not (tmp_path / "tables").exists()


def test_evaluate_all_refuses_weights_that_record_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    folder = Path(shutil.copytree(checkpoints.folder(), tmp_path / "weights"))
    monkeypatch.setattr(checkpoints, "folder", lambda trained_on=None: folder)
    monkeypatch.setattr(evaluation, "compare", lambda *_, **__: pytest.fail("too early"))
    path = folder / "inpainting_centre.safetensors"
    model, provenance = checkpoints.load(path)
    checkpoints.save(path, model, dataclasses.replace(provenance, metrics={}))
    assert main(["evaluate", "--all", "--out", str(tmp_path), "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert re.search("inpainting_centre must have negative_elbo_centre among its .* got none", said)


def test_half_rounds_the_weights_and_halves_the_file(tmp_path: Path) -> None:
    loaded, sizes = [], []
    for more in ([], ["--half"]):
        path = tmp_path / f"model{len(more)}.safetensors"
        assert main(["train", "vae", "--out", str(path), *SMALL, *more]) == 0
        model, provenance = checkpoints.load_vae(path), checkpoints.load(path)[1]
        loaded.append(model.state_dict())
        sizes.append(path.stat().st_size)
        # The figures are those of the weights in the file.
        figures = evaluation.elbo(model, data.load().test)
        assert provenance.metrics["negative_elbo"] == pytest.approx(figures[0], abs=1e-3)
    assert sizes[1] < 0.6 * sizes[0]
    for name, weights in loaded[0].items():
        assert loaded[1][name].dtype == torch.float32
        assert torch.equal(loaded[1][name], weights.half().float())
        assert not torch.equal(loaded[1][name], weights)


CONV = {"width": 2, "hidden": 4, "latent_dim": 2}
HOLE = objectives.inpainting(masks.SOURCES["centre"])
THREE_QUARTERS = objectives.inpainting(masks.SOURCES["quadrants-1"])


@pytest.mark.parametrize(
    ("name", "config", "more", "objective", "settings"),
    [
        ("classifier", {"width": 1}, "", objectives.cross_entropy, {"prepare": data.jitter}),
        ("inpainting_cvae", CONV, "", HOLE, {"prepare": data.nudge}),
        ("inpainting_cvae", CONV, "--mask quadrants-1", THREE_QUARTERS, {"prepare": data.nudge}),
        (
            "cgan", CONV, "--penalty 2.5", objectives.adversarial(2.5),
            {"prepare": data.grey, "momentum": objectives.GAN_MOMENTUM},
        ),
        ("label_cvae", {"width": 4, "latent_dim": 2}, "", objectives.negative_elbo, {}),
        (
            "label_cvae", {"width": 4}, "--precision bfloat16", objectives.negative_elbo,
            {"precision": "bfloat16"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_command_line_trains_as_the_library_does(
    tmp_path: Path,
    few: Few,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    config: dict[str, int],
    more: str,
    objective: Any,
    settings: dict[str, Any],
) -> None:
    """The same seed and settings give the same weights, so no part of the call is lost."""
    monkeypatch.setattr(evaluation.report, "PER_LABEL", 10)  # of a GAN's samples
    train = few(train=4000, test=500).train
    path = tmp_path / "model.safetensors"
    options = [f"--{key.replace('_', '-')}={value}" for key, value in config.items()]
    quick = ["--batch-size", "500", "--epochs", "1", "--device", "cpu", "--seed", "3"]
    quick += [] if name in ("classifier", "cgan") else ["--importance-samples", "1"]
    assert main(["train", name, "--out", str(path), *options, *quick, *more.split()]) == 0
    torch.manual_seed(3)
    model = build(name, **config)
    training.fit(model, objective, train, epochs=1, batch_size=500, seed=3, **settings)
    trained, _ = checkpoints.load(path)
    for key, weights in model.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[key], weights, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_command_keeps_its_model_and_is_resumed(tmp_path: Path, few: Few) -> None:
    few(train=2000, test=200)
    path, done = tmp_path / "part.safetensors", threading.Event()
    words = ["train", "vae", *SMALL, "--epochs", "30"]
    printed = io.StringIO()

    def press_after_two_epochs() -> None:
        while not done.is_set():
            if "epoch 2/30" in printed.getvalue():
                _thread.interrupt_main()
                return
            time.sleep(0.01)

    finger = threading.Thread(target=press_after_two_epochs)
    finger.start()
    try:
        with contextlib.redirect_stdout(printed):
            code = main([*words, "--out", str(path)])
    finally:
        done.set()
        finger.join()
    assert code == 130
    epochs = checkpoints.load(path)[1].training["epochs"]
    assert 2 <= epochs < 30
    assert f"Interrupted after {epochs} of 30 epochs" in printed.getvalue()
    run = tmp_path / "part.safetensors.run"
    assert f"{run} holds the unfinished run: --resume goes on with it" in printed.getvalue()
    with contextlib.redirect_stdout(printed):
        assert main([*words, "--out", str(path), "--resume"]) == 0
        assert main([*words, "--out", str(tmp_path / "whole.safetensors")]) == 0
    assert not run.exists()
    resumed, whole = (
        checkpoints.load(tmp_path / f"{name}.safetensors")[0].state_dict()
        for name in ("part", "whole")
    )
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_in_the_first_epoch_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    elbo = objectives.negative_elbo

    def pressed(*arguments: Any) -> Any:
        _thread.interrupt_main()
        return elbo(*arguments)

    monkeypatch.setattr(objectives, "negative_elbo", pressed)
    assert main(["train", "vae", "--out", str(tmp_path / "vae.safetensors"), *SMALL]) == 130
    assert "no epoch was finished" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_interrupt_elsewhere_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", pressed)
    assert main(["evaluate", "vae"]) == 130


def test_several_processes_do_not_resume(tmp_path: Path) -> None:
    """Each has random numbers of its own, and only one writes."""
    with pytest.raises(ValueError, match="--resume must be left out with 2 processes"):
        cli._begun(tmp_path / "model.run", {}, distributed.Crew(0, 2), resume=True)


# ---------------------------------------------------------------- prepare


@pytest.fixture
def other_data(dataset: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set that has no weights yet, and the folder where they go."""
    few = dataset.train.take(300), dataset.test.take(100)
    other = dataclasses.replace(dataset, name="kmnist", train=few[0], test=few[1])
    monkeypatch.setattr(data, "load", lambda name="mnist": other)
    shipped, learned = checkpoints.folder(), tmp_path / "kmnist"
    monkeypatch.setattr(
        checkpoints, "folder", lambda name="mnist": shipped if name == "mnist" else learned
    )
    return learned


def test_prepare_trains_what_is_missing_by_the_shipped_ones_commands(
    other_data: Path, capsys: Captured
) -> None:
    words = ["prepare", "kmnist", "vae_2d", "--effort", "0.001"]
    assert main(words) == 0
    assert capsys.readouterr().out.count("it learns for 1 of MNIST's") == 2
    names = ["classifier", "vae_2d"]  # the judge is always among them
    assert sorted(file.stem for file in other_data.iterdir()) == names
    for name in names:
        _, of_mnist = checkpoints.load(name)
        model, learned = checkpoints.load(other_data / f"{name}.safetensors", trained_on="kmnist")
        assert model.config == of_mnist.config | {"num_classes": 10}
        assert "--data kmnist" in learned.command
        assert learned.training["epochs"] == 1
        assert learned.training["seed"] == of_mnist.training["seed"]
    written = {file: file.stat().st_mtime_ns for file in other_data.iterdir()}
    assert main(words) == 0  # nothing is missing now
    assert {file: file.stat().st_mtime_ns for file in other_data.iterdir()} == written


def test_prepare_trains_all_that_are_shipped_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(cli, "prepare", lambda *names, effort: asked.append((names, effort)))
    assert main(["prepare", "kmnist"]) == 0
    assert main(["prepare", "kmnist", "gan", "--effort", "0.5"]) == 0
    shipped = sorted(path.stem for path in checkpoints.folder().glob("*.safetensors"))
    assert asked == [(("kmnist", *shipped), 0.1), (("kmnist", "gan"), 0.5)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vae", "nothing"], "name must be one of 'cgan', .*, got 'nothing'"),
        (["../vae"], r"name must be one of .*, got '\.\./vae'"),
        (["--effort", "0"], "effort must be a positive number, got 0"),
        (["--effort", "2"], "effort must be .* from 0 to 1, got 2"),
    ],
)
def test_prepare_refuses_what_it_cannot_before_it_trains(
    other_data: Path, capsys: Captured, words: list[str], message: str
) -> None:
    assert main(["prepare", "kmnist", *words]) == 1
    captured = capsys.readouterr()
    assert re.search(message, captured.err)
    assert not captured.out
    assert not other_data.exists()


# ---------------------------------------------------------------- evaluate


def test_evaluate_prints_json_that_agrees_with_the_training_figures(
    trained: tuple[Path, list[str], str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation.report, "PER_LABEL", 100)
    path, _, _ = trained
    asked = ["--json", "--device", "cpu", "--importance-samples", "4"]
    assert main(["evaluate", str(path), *asked]) == 0
    printed = json.loads(capsys.readouterr().out)  # nothing but JSON
    _, provenance = checkpoints.load(path)
    assert list(printed["figures"]) == [str(path)]
    figures = printed["figures"][str(path)]
    faithful = figures["faithfulness"]
    interval = binomtest(round(faithful * 1000), 1000).proportion_ci(method="wilson")
    assert figures["faithfulness_low"] == pytest.approx(interval.low, abs=1e-4)
    assert figures["faithfulness_high"] == pytest.approx(interval.high, abs=1e-4)
    assert {name: figures[name] for name in provenance.metrics} == pytest.approx(
        provenance.metrics, abs=1e-3
    )
    assert figures["nll"] < figures["negative_elbo"]  # four codes are tighter than one
    assert printed["data"].startswith("mnist: ")
    assert main(["evaluate", str(path), *asked, "--seed", "1"]) == 0
    (others,) = json.loads(capsys.readouterr().out)["figures"].values()
    assert others["negative_elbo"] != figures["negative_elbo"]  # other pixels, other codes
    assert (
        others["faithfulness"] != figures["faithfulness"] or others["frechet"] != figures["frechet"]
    )


def test_evaluate_prints_the_figures_of_each_checkpoint(
    tmp_path: Path, dataset: data.Dataset, capsys: Captured
) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in ("one", "two")]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        judge = Classifier(width=1)
        provenance = checkpoints.Provenance(judge.name, judge.config, data={"name": "mnist"})
        checkpoints.save(path, judge, provenance)
    assert main(["evaluate", *map(str, paths), "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    title, *rows = captured.out.splitlines()
    assert title.startswith(str(dataset))
    assert rows[::2] == [str(path) for path in paths]
    for row in rows[1::2]:
        name, value = row.split()
        assert name == "accuracy"
        assert 0 <= float(value) < 0.5  # they have learned nothing
    # On the offline digits, a figure of weights from elsewhere must not pass for a test figure.
    assert ("no test figure" in captured.err) is not dataset.complete


# ---------------------------------------------------------------- sample


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("L"))


def test_sample_writes_a_png_with_a_row_for_each_label(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "new" / "digits.png"
    arguments = ["sample", "label_cvae", "--per-label", "4", "--out"]
    assert main([*arguments, str(path)]) == 0
    assert f"wrote {path}" in capsys.readouterr().out
    shown = picture(path)
    assert shown.shape[0] > 1.5 * shown.shape[1]  # ten rows of four
    assert (shown > 240).mean() > 0.5  # mostly paper
    assert (shown < 60).mean() > 0.02  # and ink
    # The seed decides the digits.
    for name, seed in (("again", "0"), ("other", "1")):
        assert main([*arguments, str(tmp_path / f"{name}.png"), "--seed", seed]) == 0
    assert np.array_equal(picture(tmp_path / "again.png"), shown)
    assert plt.get_fignums() == []  # nobody will look at a figure that is in its file
    assert not np.array_equal(picture(tmp_path / "other.png"), shown)


def test_a_model_that_hears_no_label_gets_no_names_beside_its_rows(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[Sequence[str]] = []
    grid = plotting.digit_grid

    def draw(images: torch.Tensor, columns: int, row_labels: Sequence[str] = ()) -> Any:
        named.append(row_labels)
        return grid(images, columns, row_labels)

    monkeypatch.setattr(plotting, "digit_grid", draw)
    for name in ("label_cvae", "vae"):
        out = ["--out", str(tmp_path / f"{name}.png"), "--per-label", "2"]
        assert main(["sample", name, *out]) == 0
    assert named == [[str(digit) for digit in range(10)], ()]
    assert capsys.readouterr().err == "NOTE: a vae hears no label: its rows have no names\n"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The rows of each picture that the command line draws."""
    seen: list[dict[str, torch.Tensor]] = []
    draw = plotting.compare_rows

    def watched(rows: dict[str, torch.Tensor]) -> Any:
        seen.append(rows)
        return draw(rows)

    monkeypatch.setattr(plotting, "compare_rows", watched)
    return seen


def test_inpaint_writes_flawed_filled_and_original_rows(
    tmp_path: Path,
    capsys: Captured,
    inpainting_checkpoint: Path,
    rows: list[dict[str, torch.Tensor]],
    dataset: data.Dataset,
) -> None:
    path = tmp_path / "new" / "filled.png"
    arguments = ["inpaint", str(inpainting_checkpoint), "--digits", "6", "--completions", "2"]
    assert main([*arguments, "--out", str(path)]) == 0
    assert f"wrote {path}" in capsys.readouterr().out
    x = data.to_unit(dataset.test.images[:6])
    (shown,) = rows
    assert list(shown) == ["flawed", "filled 1", "filled 2", "original"]
    assert torch.equal(shown["original"], x)
    hidden = torch.zeros(28, 28, dtype=torch.bool)
    hidden[9:19, 9:19] = True
    assert torch.equal(shown["flawed"], x.masked_fill(hidden, shown["flawed"][0, 13, 13].item()))
    assert 0.2 < shown["flawed"][0, 13, 13] < 0.8  # neither ink nor paper
    for name in ("filled 1", "filled 2"):
        assert torch.equal(shown[name][:, ~hidden], x[:, ~hidden])
    assert not torch.equal(shown["filled 1"], shown["filled 2"])
    picture(path)
    for seed in ("0", "1"):
        assert main([*arguments, "--out", str(path), "--seed", seed]) == 0
    _, again, other = rows
    assert torch.equal(again["filled 1"], shown["filled 1"])
    assert not torch.equal(other["filled 1"], shown["filled 1"])


def test_inpaint_hides_what_the_model_has_learned_to_fill(
    tmp_path: Path, capsys: Captured, rows: list[dict[str, torch.Tensor]]
) -> None:
    words = ["--digits", "2", "--completions", "1", "--out", str(tmp_path / "filled.png")]
    assert main(["inpaint", "inpainting_quadrants_3", *words]) == 0
    assert not capsys.readouterr().err
    assert main(["inpaint", "inpainting_quadrants_3", *words, "--mask", "centre"]) == 0
    assert capsys.readouterr().err == (
        "NOTE: inpainting_quadrants_3 learned to fill quadrants-3, not centre\n"
    )
    assert main(["inpaint", "inpainting_mixed", *words, "--mask", "centre"]) == 0
    assert not capsys.readouterr().err  # it has learned them all
    changed = [(row["flawed"] != row["original"]).any(0) for row in rows]
    assert not changed[0][:14].any()  # three quadrants are visible: the upper two, and one more
    assert changed[1][9:14, 9:19].any()


def test_inpaint_asks_for_a_mask_where_the_learned_one_has_no_name_here(
    tmp_path: Path, capsys: Captured, inpainting_checkpoint: Path
) -> None:
    model, provenance = checkpoints.load(inpainting_checkpoint)
    brushed = dataclasses.replace(provenance, training={"mask": "brush"})
    checkpoints.save(inpainting_checkpoint, model, brushed)
    words = ["inpaint", str(inpainting_checkpoint), "--digits", "2", "--completions", "1"]
    words += ["--out", str(tmp_path / "new" / "filled.png")]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "error: --mask must be given, one of centre, " in said
    assert f"{inpainting_checkpoint} learned to fill 'brush'" in said
    assert not (tmp_path / "new").exists()
    assert main([*words, "--mask", "centre"]) == 0


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "digits.png"
    words = ["sample", "label_cvae", "--per-label", "2", "--out", str(path)]
    assert main(words) == 0
    before = path.read_bytes()
    with full_disk(1000):
        assert main([*words, "--seed", "1"]) == 1
    assert f"File too large: '{path}'" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_inpaint_wants_an_inpainting_model_and_something_to_fill(
    tmp_path: Path, capsys: Captured, inpainting_checkpoint: Path
) -> None:
    out = ["--out", str(tmp_path / "filled.png")]
    assert main(["inpaint", "label_cvae", *out]) == 1
    assert "label_cvae is a label_cvae, an inpainting_cvae was wanted" in capsys.readouterr().err
    for option in ("--digits", "--completions"):
        for count in ("0", "1001"):
            assert main(["inpaint", str(inpainting_checkpoint), option, count, *out]) == 1
            wanted = f"{option} must be a whole number from 1 to 1000, got {count}"
            assert wanted in capsys.readouterr().err
    assert main(["inpaint", "inpainting_centre", "--data", "kmnist", *out]) == 1
    assert "prepare kmnist" in capsys.readouterr().err  # MNIST's do not fill other data's holes
    assert not (tmp_path / "filled.png").exists()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "--all"),
        (["evaluate", "no_such_weights"], "no checkpoint .*no_such_weights.*shipped weights: "),
        (["evaluate", "vae", "--device", "abacus"], "abacus"),
        (["evaluate", "vae", "--importance-samples", "-1"], "--importance-samples must be .* -1"),
        (
            ["train", "vae", "--out", "OUT", "--importance-samples", "-1"],
            "--importance-samples must be .* -1",
        ),
        (["evaluate", "--all", "--json"], "--json must be left out with --all"),
        *(
            ([*words, "--out", "OUT", "--seed", seed], f"--seed must be .* got {seed}")
            for words in (["train", "vae"], ["inpaint", "inpainting_centre"])
            for seed in ("-5", "99999999999999999999")
        ),
        (["evaluate", "vae", "--out", "OUT"], "--out must be left out without --all"),
        *(
            (["train", model, "--out", "OUT", option, value], f"{option} must be .*: {model} has")
            for model, option, value in (
                ("vae", "--hidden", "8"),
                ("vae", "--label-in", "both"),
                ("classifier", "--latent-dim", "2"),
                ("vae", "--mask", "centre"),
                ("conv_cvae", "--penalty", "0.1"),
                ("inpainting_cvae", "--judge", "classifier"),
                ("classifier", "--importance-samples", "500"),
                ("cgan", "--importance-samples", "500"),
            )
        ),
        (["train", "cgan", "--out", "OUT", "--judge", "nobody"], "no checkpoint .*nobody"),
        (["train", "conv_cvae", "--out", "OUT", "--hidden", "0"], "hidden must be .* got 0"),
        (["sample", "no_such_weights", "--out", "OUT"], "no checkpoint .*no_such_weights"),
        (["sample", "classifier", "--out", "OUT"], "a model that draws digits by label was wanted"),
        (["sample", "vae", "--out", "OUT", "--per-label", "0"], "--per-label must be .* got 0"),
        (["sample", "vae", "--out", "OUT", "--per-label", "1001"], "--per-label .* 1 to 1000, got"),
        (["sample", "vae", "--out", "vae.safetensors"], "--out must be .* it must end in .png"),
        (["inpaint", "inpainting_centre", "--out", "x"], "--out must be .* it must end in .png"),
        (["train", "vae", "--out", "OUT", "--epochs", "0"], "--epochs must be .* got 0"),
        (["train", "vae", "--out", "OUT", "--batch-size", "0"], "--batch-size must be .* got 0"),
        (["train", "vae", "--out", "OUT", "--width", "0"], "width must be .* got 0"),
        (
            ["train", "vae", "--out", "OUT", "--max-learning-rate", "-1"],
            "--max-learning-rate must be .* got -1",
        ),
        (
            ["train", "vae", "--out", "OUT", "--cuda-graph", "--device", "cpu"],
            "--cuda-graph must be left out but for one process on a GPU, got True for 1 on cpu",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_on_stderr_and_exit_code_1(
    arguments: list[str], message: str, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out.png"
    assert main([str(out) if word == "OUT" else word for word in arguments]) == 1
    *notes, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    assert not [line for line in notes if not line.startswith("NOTE: ")]  # no traceback
    assert re.search(message, last)
    assert not list(tmp_path.iterdir())


def test_a_graph_without_a_gpu_is_refused_before_anything_is_loaded_or_made(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("too early"))
    words = ["train", "vae", "--out", str(tmp_path / "a" / "b"), "--device", "cpu"]
    assert main([*words, "--cuda-graph"]) == 1
    assert "error: --cuda-graph must be left out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [[], ["paint"], ["train", "painter", "--out", "x"], ["train", "vae"], ["sample", "vae"]],
    ids=" ".join,
)
def test_words_that_make_no_command_are_explained(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m cvae_utils" in capsys.readouterr().err


def test_the_help_of_train_lists_the_models_and_their_options(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for word in (*MODELS, *data.NAMES, "--width", "--latent-dim", "{both,generation}"):
        assert word in shown
    for _, default in cli.OF_SOME.values():
        assert f"(default: {default})" in " ".join(shown.split())
    assert "what is trained" in shown


def test_the_help_lists_the_commands(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for command in ("train", "prepare", "sample", "inpaint", "evaluate"):
        assert re.search(rf"^    {command} ", shown, flags=re.MULTILINE)


@pytest.mark.parametrize("command", ["train", "prepare", "sample", "inpaint", "evaluate"])
def test_the_help_says_no_default_where_there_is_none(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert not re.search(r"default:\s+(None|\[\]|False)", shown)
    assert ("--seed" in shown) == bool(re.search(r"\(default:\s+0\)", shown))


@pytest.mark.parametrize("command", ["train", "inpaint"])
def test_the_help_says_what_the_names_of_masks_mean(command: str, capsys: Captured) -> None:
    assert masks.SOURCES["quadrants-1"](1, torch.Generator()).float().mean() == 1 / 4
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "which pixels are hidden; quadrants-N leaves N of the four visible" in shown


def test_python_m_returns_the_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    # In this process: a new one would spend seconds on importing torch.
    monkeypatch.setattr(sys, "argv", ["cvae_utils", "evaluate"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("cvae_utils", run_name="__main__")
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: evaluate needs checkpoints, or --all\n"


def test_a_diverged_training_writes_nothing_and_says_what_to_lower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "vae.safetensors"
    words = ["train", "vae", "--out", str(out), "--epochs", "1", "--width", "4"]
    assert main([*words, "--max-learning-rate", "1e30"]) == 1
    assert "lower max_learning_rate" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [["train", "vae"], ["sample", "vae"], ["inpaint", "inpainting_centre"], ["evaluate", "--all"]],
    ids=" ".join,
)
def test_where_nothing_can_be_written_is_refused_before_anything_takes_time(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    slow = (training, "fit"), (evaluation, "sample_labels"), (evaluation, "compare")
    for where, name in (*slow, (InpaintingCVAE, "sample")):
        monkeypatch.setattr(where, name, lambda *_, **__: pytest.fail("too early"))
    (tmp_path / "file").touch()
    places = [tmp_path / "file" / "below"]
    if words[0] != "evaluate":  # that one wants a folder
        places.append(tmp_path)
    for out in places:
        assert main([*words, "--out", str(out)]) == 1
        assert "--out must be a file to write, got " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
