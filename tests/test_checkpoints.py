"""Checkpoints: what comes back, what is refused, and the weights that the project ships."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cvae_utils import checkpoints, data, evaluation, masks
from cvae_utils.checkpoints import CheckpointError, Provenance
from cvae_utils.models import GAN, Classifier, ConditionalVAE, InpaintingCVAE, LabelCVAE
from tests.conftest import full_disk, weights

SHIPPED = sorted(checkpoints.folder().glob("*.safetensors"))
KEY = "cvae_utils"  # where the files keep their provenance; other names would orphan old files


@pytest.fixture
def model() -> LabelCVAE:
    torch.manual_seed(4)
    return LabelCVAE(latent_dim=3, width=8, label_in="generation")


@pytest.fixture
def provenance(model: LabelCVAE) -> Provenance:
    return Provenance(
        model="label_cvae",
        config=model.config,
        command="python -m cvae_utils train label_cvae --label-in generation",
        training={"epochs": 2, "seconds": 3},
        data={"name": "mnist", "train": 10, "test": 5, "fingerprint": "abc"},
        metrics={"negative_elbo": 123.4567},
    )


@pytest.fixture
def saved(no_litter: Path, model: LabelCVAE, provenance: Provenance) -> Path:
    path = no_litter / "weights.safetensors"
    checkpoints.save(path, model, provenance)
    return path


# ---------------------------------------------------------------- there and back


def test_weights_outputs_and_provenance_come_back_exactly(
    saved: Path, model: LabelCVAE, provenance: Provenance
) -> None:
    loaded, found = checkpoints.load(saved)
    assert isinstance(loaded, LabelCVAE)
    assert asdict(found) == asdict(provenance)
    assert loaded.config == model.config
    assert not loaded.training
    z, labels = torch.randn(5, 3), torch.arange(5)
    assert torch.equal(loaded.generate(z, labels), model.generate(z, labels))
    x = torch.rand(5, 28, 28)
    assert torch.equal(loaded.recognize(x, labels).logvar, model.recognize(x, labels).logvar)


def test_a_classifier_comes_back_with_the_statistics_of_its_batch_norms(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = Classifier(width=2)
    x = torch.rand(20, 28, 28)
    classifier(x)  # in training mode: moves the running means
    path = tmp_path / "judge.safetensors"
    checkpoints.save(path, classifier, Provenance("classifier", classifier.config))
    with torch.no_grad():
        assert torch.equal(checkpoints.load_classifier(path)(x), classifier.eval()(x))


def test_a_path_may_be_text_and_its_folder_is_made(
    tmp_path: Path, model: LabelCVAE, provenance: Provenance
) -> None:
    path = str(tmp_path / "new" / "deep" / "weights.safetensors")
    checkpoints.save(path, model, provenance)
    assert torch.equal(weights(checkpoints.load_vae(path)), weights(model))


def test_a_model_under_a_name_of_its_own_is_refused_as_nothing_could_read_it(
    tmp_path: Path,
) -> None:
    class Mine(LabelCVAE):
        name = "mine"

    model = Mine(latent_dim=2, width=4)
    with pytest.raises(ValueError, match=r"^model.name must be one of 'vae', .*, got 'mine'"):
        checkpoints.save(tmp_path / "mine.safetensors", model, Provenance("mine", model.config))
    assert not list(tmp_path.iterdir())


def test_loading_draws_none_of_the_callers_random_numbers(saved: Path) -> None:
    before = torch.get_rng_state()
    checkpoints.load(saved)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["classifier", "classifier.safetensors"])
def test_a_bare_name_means_shipped_weights(name: str) -> None:
    by_name = checkpoints.load_classifier(name)
    by_path = checkpoints.load_classifier(checkpoints.folder() / "classifier.safetensors")
    assert torch.equal(weights(by_name), weights(by_path))
    assert torch.equal(weights(checkpoints.load_classifier()), weights(by_path))


def test_the_file_is_plain_safetensors_with_readable_provenance(
    saved: Path, model: LabelCVAE, provenance: Provenance
) -> None:
    with safe_open(saved, framework="pt") as file:
        assert json.loads(file.metadata()[KEY]) == asdict(provenance)
        assert set(file.keys()) == set(model.state_dict())


def test_saving_again_replaces_the_file(
    saved: Path, model: LabelCVAE, provenance: Provenance
) -> None:
    with torch.no_grad():
        next(model.parameters()).add_(1)
    checkpoints.save(saved, model, provenance)
    assert torch.equal(weights(checkpoints.load_vae(saved)), weights(model))
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_write_that_breaks_off_leaves_the_old_file(
    saved: Path, model: LabelCVAE, provenance: Provenance
) -> None:
    before = saved.read_bytes()
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with full_disk(len(before) // 2), pytest.raises(OSError, match=rf"Errno {errno.EFBIG}\b"):
        checkpoints.save(saved, model, provenance)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_target_that_cannot_be_replaced_leaves_no_partial_file(
    no_litter: Path, model: LabelCVAE, provenance: Provenance
) -> None:
    (no_litter / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        checkpoints.save(no_litter / "taken", model, provenance)
    assert [path.name for path in no_litter.iterdir()] == ["taken"]


# ---------------------------------------------------------------- what is refused


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut by one byte": lambda path: cut(path, path.stat().st_size - 1),
    "cut in half": lambda path: cut(path, path.stat().st_size // 2),
    "cut in the header": lambda path: cut(path, 100),
    "empty": lambda path: cut(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "flipped header length": lambda path: flip(path, 1),
    "flipped header": lambda path: flip(path, 8),
    "flipped inside the header": lambda path: flip(path, 200),
    "text": lambda path: path.write_text("These are not the weights you are looking for.\n" * 9),
    "pickle": lambda path: torch.save({"a": torch.zeros(3)}, path),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused_by_name(saved: Path, damage: Callable[[Path], object]) -> None:
    damage(saved)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged"):
        checkpoints.load(saved)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_of_another_program_is_refused(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata)
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors was not written by cvae_util"):
        checkpoints.load(path)


def rewrite(path: Path, header: str, drop: str = "") -> None:
    """Write the same tensors, but for one, under another header."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if name != drop}  # noqa: SIM118
    save_file(tensors, path, {KEY: header, "sha256": checkpoints._digest(tensors, header)})


GOOD = {"model": "label_cvae", "config": {"latent_dim": 3, "width": 8, "label_in": "generation"}}
MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"model": "flow"}, "'flow'"),
    ({"config": {"latent_dim": 3, "width": 8, "depth": 2}}, "depth"),
    ({"config": {"latent_dim": 3, "width": 9, "label_in": "generation"}}, "size mismatch"),
    ({"config": {"latent_dim": 3, "width": 0}}, "width"),
    ({"config": {"latent_dim": 3, "width": "8"}}, "width"),
    ({"config": None}, "NoneType"),
    ({"mood": "good"}, "mood"),
]


@pytest.mark.parametrize(("change", "reason"), MISFITS, ids=[reason for _, reason in MISFITS])
def test_a_header_that_fits_no_model_is_refused_with_the_reason(
    saved: Path, change: dict[str, Any], reason: str
) -> None:
    rewrite(saved, json.dumps(GOOD))
    checkpoints.load(saved)  # it is the change alone that is refused
    rewrite(saved, json.dumps(GOOD | change))
    with pytest.raises(CheckpointError, match=r"weights\.safetensors does not fit") as caught:
        checkpoints.load(saved)
    assert reason in str(caught.value)


@pytest.mark.parametrize("header", ["{", "[]", "{}", "null"])
def test_a_header_that_is_no_provenance_is_refused(saved: Path, header: str) -> None:
    rewrite(saved, header)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors does not fit"):
        checkpoints.load(saved)


def test_a_file_that_lacks_a_tensor_is_refused(saved: Path) -> None:
    rewrite(saved, json.dumps(GOOD), drop="generation_net.layers.0.bias")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors .*\n?.*Missing key") as caught:
        checkpoints.load(saved)
    assert "generation_net.layers.0.bias" in str(caught.value)


@pytest.mark.parametrize("path", ["no_such_weights", Path("no_such_weights.safetensors")])
def test_a_missing_file_is_named_beside_what_is_shipped(path: str | Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint .*no_such_weights") as caught:
        checkpoints.load(path)
    listed = str(caught.value).partition("shipped weights: ")[2].split(", ")
    assert listed == [file.stem for file in SHIPPED]
    assert "classifier" in listed


def test_the_kind_of_model_that_is_wanted_is_checked(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="classifier is a classifier, an autoencoder was"):
        checkpoints.load_vae("classifier")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is a label_cvae, a classifie"):
        checkpoints.load_classifier(saved)


LOADERS: dict[Callable[..., object], str] = {
    checkpoints.load: "vae",
    checkpoints.load_generator: "cgan",
    checkpoints.load_vae: "label_cvae",
    checkpoints.load_gan: "gan",
    checkpoints.load_inpainting: "inpainting_mixed",
    checkpoints.load_classifier: "classifier",
}


@pytest.mark.reliability(
    "checkpoints",
    "weights of another data set than wanted, asked for as each kind of model",
    "refused with both named",
)
@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
def test_weights_of_other_data_are_refused(load: Callable[..., object]) -> None:
    path = checkpoints.folder() / f"{LOADERS[load]}.safetensors"
    load(path, trained_on="mnist")
    with pytest.raises(CheckpointError, match="was trained on mnist, kmnist was wanted"):
        load(path, trained_on="kmnist")


@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
def test_weights_come_to_the_device_that_is_wanted(
    load: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To one that every machine has, and that is refused because nothing can be computed there."""
    monkeypatch.setattr(checkpoints, "pick_device", torch.device)
    loaded = load(LOADERS[load], "meta")
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    assert isinstance(model, torch.nn.Module)
    assert {weights.device.type for weights in model.state_dict().values()} == {"meta"}


# ---------------------------------------------------------------- the caveat


def dataset(complete: bool, ink: int) -> data.Dataset:
    split = data.Split(torch.full((2, 28, 28), ink, dtype=torch.uint8), torch.tensor([1, 2]))
    return data.Dataset("mnist", split, split, "made up", complete)


def test_offline_digits_are_no_test_of_weights_that_may_have_seen_them() -> None:
    full, offline = dataset(complete=True, ink=1), dataset(complete=False, ink=2)
    from_full = Provenance("vae", {}, data={"fingerprint": full.fingerprint})
    from_offline = Provenance("vae", {}, data={"fingerprint": offline.fingerprint})
    assert from_full.caveat(full) == from_offline.caveat(full) == ""
    assert "no test" in from_full.caveat(offline)
    assert from_offline.caveat(offline) == ""
    assert "no test" in Provenance("vae", {}).caveat(offline)  # of unknown origin


# ---------------------------------------------------------------- shipped weights


def shipped_ids(path: Path) -> str:
    return path.stem


def test_weights_are_shipped() -> None:
    assert {"classifier", "label_cvae", "vae"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=shipped_ids)
def test_shipped_weights_are_small_and_say_where_they_are_from(path: Path) -> None:
    assert path.stat().st_size < 8_000_000
    model, provenance = checkpoints.load(path)
    assert provenance.model == model.name
    assert provenance.config.items() <= model.config.items()
    assert model.config.get("num_classes", 10) == 10  # which files of that time do not say
    assert provenance.command.startswith(f"python -m cvae_utils train {model.name} ")
    assert path.name in provenance.command
    assert isinstance(provenance.training["seed"], int)
    assert provenance.training["seconds"] > 0
    assert provenance.training["epochs"] > 0
    assert provenance.data["train"] == 60_000  # all of it, not the offline digits
    assert len(provenance.data["fingerprint"]) == 16
    assert provenance.metrics
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


@pytest.mark.parametrize("path", SHIPPED, ids=shipped_ids)
def test_shipped_weights_measure_what_they_say(path: Path) -> None:
    mnist = data.load(download=False)
    if not mnist.complete:
        pytest.skip("the recorded figures are of MNIST's own 10,000 test digits")
    model, provenance = checkpoints.load(path)
    if provenance.data["fingerprint"] != mnist.fingerprint:
        pytest.skip(f"measured on {provenance.data['name']}")
    if isinstance(model, InpaintingCVAE):
        holes = [name for name in masks.SOURCES if f"nll_{name}" in provenance.metrics]
        assert holes
        for name in holes:
            hidden = masks.SOURCES[name](1, torch.Generator())[0]
            measured = evaluation.hole_nll(model, mnist.test, hidden, (1,))[1].value
            # One draw for each image, where the record is the mean of a hundred.
            assert measured == pytest.approx(provenance.metrics[f"negative_elbo_{name}"], abs=0.2)
            assert provenance.metrics[f"nll_{name}"] <= provenance.metrics[f"negative_elbo_{name}"]
    elif isinstance(model, ConditionalVAE):
        measured = evaluation.elbo(model, mnist.test).negative_elbo
        assert measured == pytest.approx(provenance.metrics["negative_elbo"], abs=0.01)
    elif isinstance(model, GAN):
        read = evaluation.label_faithfulness(model, checkpoints.load_classifier()).value
        assert read == pytest.approx(provenance.metrics["faithfulness"], abs=0.001)
    else:
        share = evaluation.accuracy(model, mnist.test)
        assert share.value == pytest.approx(provenance.metrics["accuracy"], abs=0.001)


def test_a_copy_of_shipped_weights_loads_from_anywhere(tmp_path: Path) -> None:
    copy = shutil.copy(checkpoints.folder() / "vae.safetensors", tmp_path / "mine.safetensors")
    assert torch.equal(weights(checkpoints.load_vae(copy)), weights(checkpoints.load_vae("vae")))
