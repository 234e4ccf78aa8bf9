"""Files of weights that are killed in the making, cut, altered, swapped or made to harm."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cvae_utils import checkpoints, files
from cvae_utils.checkpoints import CheckpointError, Provenance
from cvae_utils.cli import main
from cvae_utils.models import LabelCVAE
from cvae_utils.snapshots import Snapshot
from cvae_utils.training import History
from tests.conftest import full_disk, weights
from tests.test_interrupts import killed_after

Record = Callable[[str, object], None]


def model_of(seed: int, width: int = 8) -> LabelCVAE:
    torch.manual_seed(seed)
    return LabelCVAE(latent_dim=3, width=width)


def save(path: Path, model: LabelCVAE, data: str = "mnist", command: str = "a command") -> None:
    checkpoints.save(
        path, model, Provenance(model.name, model.config, command, data={"name": data})
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save(path, model_of(0))
    return path


# ---------------------------------------------------------------- killed while saving


@pytest.mark.reliability(
    "checkpoints",
    "killed with SIGKILL during save, at random moments",
    "the file is a whole one, the old or the new; what was begun is cleared away later",
)
def test_a_killed_save_leaves_a_loadable_file(tmp_path: Path, record_property: Record) -> None:
    path = tmp_path / "weights.safetensors"
    models = [model_of(seed, width=64) for seed in (0, 1)]
    known = [weights(model) for model in models]
    start = time.perf_counter()
    for turn in range(50):
        save(path, models[turn % 2])
    takes = (time.perf_counter() - start) / 50  # on this machine, with its other work

    def save_forever() -> None:
        for turn in range(10**9):
            save(path, models[turn % 2])

    chance, kills, found = random.Random(0), 100, set()  # noqa: S311 - moments, no secrets
    for _ in range(kills):
        with killed_after(chance.uniform(0, 6 * takes), save_forever):
            model, provenance = checkpoints.load(path)
        assert provenance.command == "a command"
        matches = [torch.equal(weights(model), wanted) for wanted in known]
        assert sum(matches) == 1
        found.add(matches.index(True))
    assert found == {0, 1}  # saves did go through
    leftovers = list(tmp_path.glob(".*.part"))
    assert len(leftovers) > 10  # and the kills did fall in the middle of some
    for leftover in leftovers:
        os.utime(leftover, times=(0, time.time() - 2 * files.ABANDONED_SECONDS))
    save(path, models[0])
    assert list(tmp_path.iterdir()) == [path]
    record_property("cases", kills)


def test_a_file_that_another_process_is_writing_is_left_alone(saved: Path) -> None:
    theirs = saved.with_name(f".{saved.name}.abc.part")
    theirs.write_bytes(b"half")
    save(saved, model_of(1))
    assert theirs.read_bytes() == b"half"


@pytest.mark.parametrize("name", ["mine[1].safetensors", "a**b.png", "?"])
def test_what_a_killed_write_left_goes_with_the_next_whatever_the_name(
    name: str, tmp_path: Path
) -> None:
    path, leftover = tmp_path / name, tmp_path / f".{name}.abc.part"
    leftover.write_bytes(b"half")
    os.utime(leftover, times=(0, time.time() - 2 * files.ABANDONED_SECONDS))
    files.write_whole(path, b"whole")
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.write_whole(path, b"whole")
    assert path.read_bytes() == b"whole"
    with pytest.raises(OSError, match=r"too long: .*nn'$"):
        files.write_whole(tmp_path / ("n" * 256), b"whole")
    assert list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------- cut and altered


@pytest.mark.reliability(
    "checkpoints", "cut at every 97th byte, and by one byte", "refused by name, with the reason"
)
def test_a_cut_file_is_refused(saved: Path, record_property: Record) -> None:
    content = saved.read_bytes()
    sizes = [*range(0, len(content), 97), len(content) - 1]
    for size in sizes:
        saved.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged"):
            checkpoints.load(saved)
    record_property("cases", len(sizes))


@pytest.mark.reliability(
    "checkpoints",
    "one byte changed: each one of the header, and 500 of the weights",
    "refused by name; a blank that pads the header may become another blank",
)
def test_a_changed_byte_is_refused(saved: Path, record_property: Record) -> None:
    content = saved.read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    chance = random.Random(0)  # noqa: S311 - places, no secrets
    places = [*range(header), *(chance.randrange(header, len(content)) for _ in range(500))]
    before, accepted = weights(model_of(0)), 0
    for place in places:
        altered = bytearray(content)
        altered[place] ^= chance.randrange(1, 256)
        saved.write_bytes(altered)
        try:
            model, provenance = checkpoints.load(saved)
        except CheckpointError as error:
            assert "weights.safetensors" in str(error)  # noqa: PT017 - or nothing is wrong
            continue
        accepted += 1
        assert torch.equal(weights(model), before)
        assert provenance == Provenance("label_cvae", model.config, "a command", data=MNIST)
    assert accepted <= 8  # the padding is shorter than that
    record_property("cases", len(places))


MNIST = {"name": "mnist"}


@pytest.mark.reliability(
    "checkpoints",
    "a header without a digest, with another one, or with other words than it was made for",
    "refused by name, with the reason",
)
@pytest.mark.parametrize("change", ["none", "other", "words"])
def test_a_digest_that_does_not_fit_is_refused(saved: Path, change: str) -> None:
    model = model_of(0)
    text = json.dumps({"model": "label_cvae", "config": model.config})
    digest = checkpoints._digest(model.state_dict(), text)
    header = {
        "none": {"cvae_utils": text},
        "other": {"cvae_utils": text, "sha256": "0" * 64},
        "words": {"cvae_utils": text.replace("{", "{ ", 1), "sha256": digest},
    }[change]
    save_file(model.state_dict(), saved, {"cvae_utils": text, "sha256": digest})
    checkpoints.load(saved)
    save_file(model.state_dict(), saved, header)
    with pytest.raises(CheckpointError, match=r"is damaged: SHA-256 .* wanted, [0-9a-f]{64} found"):
        checkpoints.load(saved)


@pytest.mark.reliability(
    "checkpoints", "two tensors of one shape that have changed names", "refused by name"
)
def test_tensors_that_swapped_their_names_are_refused(saved: Path) -> None:
    first, second = "recognition_net.layers.2.bias", "recognition_net.layers.0.bias"
    tensors = dict(model_of(0).state_dict())
    tensors[first], tensors[second] = tensors[second], tensors[first]
    with safe_open(saved, framework="pt") as file:
        header = file.metadata()
    save_file(tensors, saved, header)
    with pytest.raises(CheckpointError, match=r"is damaged: SHA-256"):
        checkpoints.load(saved)


# ---------------------------------------------------------------- pickles


class Bomb:
    """What is unpickled runs: here it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.trace),)


def as_numpy(bomb: Bomb, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([bomb], dtype=object), allow_pickle=True)


DISGUISES: dict[str, Callable[[Bomb, Path], object]] = {
    "pickle": lambda bomb, path: path.write_bytes(pickle.dumps(bomb)),
    "torch zip": lambda bomb, path: torch.save({"weight": bomb}, path),
    "torch legacy": lambda bomb, path: torch.save(
        {"weight": bomb}, path, _use_new_zipfile_serialization=False
    ),
    "numpy": as_numpy,
    "pickle behind a length": lambda bomb, path: path.write_bytes(
        struct.pack("<Q", len(pickle.dumps(bomb))) + pickle.dumps(bomb)
    ),
}


@pytest.mark.reliability(
    "checkpoints",
    "a pickle in disguise, which would run a program",
    "refused by name; the program does not run",
)
@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("reader", ["weights", "run", "command"])
def test_nothing_is_ever_unpickled(
    tmp_path: Path, disguise: str, reader: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, trace = tmp_path / "weights.safetensors", tmp_path / "trace"
    DISGUISES[disguise](Bomb(trace), path)
    if reader == "command":
        assert main(["sample", str(path), "--out", str(tmp_path / "picture.png")]) == 1
        assert "weights.safetensors is damaged, or no safetensors" in capsys.readouterr().err
    else:
        read: dict[str, Callable[[], object]] = {
            "weights": lambda: checkpoints.load(path),
            "run": lambda: checkpoints.load_run(path, {}),
        }
        with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged, or no safe"):
            read[reader]()
    assert not trace.exists()


def test_the_bomb_would_have_gone_off(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "trace")))  # noqa: S301 - our own
    assert (tmp_path / "trace").exists()


# ---------------------------------------------------------------- of something else


@pytest.mark.reliability(
    "checkpoints",
    "weights of another model than wanted",
    "refused with both named",
)
@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (checkpoints.load_classifier, "is a label_cvae, a classifier was wanted"),
        (checkpoints.load_gan, "is a label_cvae, a gan or cgan was wanted"),
        (checkpoints.load_inpainting, "is a label_cvae, an inpainting_cvae was wanted"),
    ],
    ids=["classifier", "gan", "inpainting"],
)
def test_weights_of_something_else_are_refused(
    saved: Path, ask: Callable[[Path], object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        ask(saved)


@pytest.mark.reliability(
    "checkpoints",
    "weights of another size than their header says",
    "refused with the tensor named",
)
@pytest.mark.parametrize("width", [9, 10**7], ids=["a little", "by terabytes"])
def test_weights_that_do_not_fit_their_header_are_refused(saved: Path, width: int) -> None:
    """By their shapes: a small file cannot make anybody lay out an enormous model."""
    claimed = dataclasses.asdict(Provenance("label_cvae", {"width": width}, data=MNIST))
    checkpoints._write(saved, model_of(0).state_dict(), checkpoints._HEADER_KEY, claimed)
    with pytest.raises(CheckpointError, match=r"does not fit .*(\n.*)*size mismatch for recog"):
        checkpoints.load(saved)


@pytest.mark.reliability(
    "checkpoints",
    "a header whose parts are of other types, with a digest that is right",
    "a CheckpointError that names the part",
)
@pytest.mark.parametrize("part", ["config", "training", "data", "metrics", "command", "model"])
def test_a_header_in_another_form_is_refused(saved: Path, part: str) -> None:
    header = dataclasses.asdict(Provenance("label_cvae", model_of(0).config, data=MNIST))
    for nonsense in (None, [1], 5):
        header[part] = nonsense
        checkpoints._write(saved, model_of(0).state_dict(), checkpoints._HEADER_KEY, header)
        with pytest.raises(CheckpointError, match=f"{part} must be (dict|str), got"):
            checkpoints.load(saved)


@pytest.mark.parametrize(
    "provenance",
    [Provenance("vae", model_of(0).config), Provenance("label_cvae", {"width": 9})],
    ids=["another model", "another size"],
)
def test_a_provenance_that_would_not_rebuild_the_model_is_refused(
    saved: Path, provenance: Provenance
) -> None:
    before = saved.read_bytes()
    with pytest.raises(ValueError, match="provenance must have the model's own name and config"):
        checkpoints.save(saved, model_of(0), provenance)
    tensor = Provenance("label_cvae", model_of(0).config, metrics={"nll": torch.zeros(())})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"text and numbers.*Tensor"):
        checkpoints.save(saved, model_of(0), tensor)
    assert saved.read_bytes() == before


# ---------------------------------------------------------------- no space, no permission


@pytest.mark.reliability(
    "checkpoints", "no space left, at every 997th byte", "an error; the old file is untouched"
)
@pytest.mark.parametrize("kind", ["weights", "run"])
def test_without_space_the_old_file_stays(saved: Path, kind: str, record_property: Record) -> None:
    before = saved.read_bytes()
    history = History(settings={"epochs": 1}, epochs=[{"loss": 1.0}])
    history.snapshot = Snapshot(1, {"model.a": torch.zeros(len(before) // 4)}, {})
    write: dict[str, Callable[[], Any]] = {
        "weights": lambda: save(saved, model_of(1)),
        "run": lambda: checkpoints.save_run(saved, history, {}),
    }
    sizes = range(0, len(before) - 200, 997)
    for size in sizes:
        with full_disk(size), pytest.raises(OSError, match="File too large"):
            write[kind]()
        assert saved.read_bytes() == before
        assert list(saved.parent.iterdir()) == [saved]
    write[kind]()
    assert saved.read_bytes() != before
    record_property("cases", len(sizes))


def test_a_row_without_its_snapshot_is_not_written(tmp_path: Path) -> None:
    """An interrupt may fall between the two, and the run goes on from the snapshot."""
    path = tmp_path / "run"
    rows = [{"loss": 2.0}, {"loss": 1.0}]
    history = History(
        rows, settings={"epochs": 3}, snapshot=Snapshot(1, {"model.a": torch.zeros(1)}, {})
    )
    checkpoints.save_run(path, history, {})
    assert checkpoints.load_run(path, {}).epochs == rows[:1]
    assert history.epochs == rows


@pytest.mark.parametrize("header", [{"about": {}, "epochs": []}, [1]])
def test_a_run_that_another_version_has_written_is_refused(tmp_path: Path, header: Any) -> None:
    path = tmp_path / "run"
    checkpoints._write(path, {"model.a": torch.zeros(1)}, checkpoints._RUN_KEY, header)
    with pytest.raises(CheckpointError, match="does not hold a run as this version writes it"):
        checkpoints.load_run(path, {})


# ---------------------------------------------------------------- nonsense

MADE = Provenance("vae", {})
CALLS: dict[str, Callable[[Any], object]] = {
    "path must be str or Path, got 5": lambda path: checkpoints.load(5),  # type: ignore[arg-type]
    "path must be str or Path, got None": lambda path: checkpoints.load_run(None, {}),  # type: ignore[arg-type]
    "device must be a name or a torch.device, got 3": lambda path: checkpoints.load(path, 3),  # type: ignore[arg-type]
    "device must be one to compute on, got 'abacus'": lambda path: checkpoints.load(path, "abacus"),
    "trained_on must be a data set's name or None, got 3": lambda path: checkpoints.load(
        path,
        "cpu",
        3,  # type: ignore[arg-type]
    ),
    "path must be str or Path, got 3": lambda path: checkpoints.RunFile(3, {}),  # type: ignore[arg-type]
    "about must be dict, got 'a run'": lambda path: checkpoints.RunFile(path, "a run"),  # type: ignore[arg-type]
    "every must be a finite number from 0 to inf, got -1": lambda path: checkpoints.RunFile(
        path, {}, -1
    ),
    "about must be dict, got 'tiny'": lambda path: checkpoints.load_run(path, "tiny"),  # type: ignore[arg-type]
    "model must be Classifier or ConditionalGenerator, got 'vae'": lambda path: checkpoints.save(
        path,
        "vae",  # type: ignore[arg-type]
        MADE,
    ),
    "provenance must be Provenance, got {}": lambda path: checkpoints.save(path, model_of(0), {}),  # type: ignore[arg-type]
    "history must be History, got 5": lambda path: checkpoints.save_run(path, 5, {}),  # type: ignore[arg-type]
}


@pytest.mark.reliability(
    "input",
    "no path, no model, no history given to save and load",
    "an error that names the argument, what came and what was wanted",
)
@pytest.mark.parametrize("message", CALLS)
def test_nonsense_is_named(saved: Path, message: str) -> None:
    before = saved.read_bytes()
    with pytest.raises((TypeError, ValueError), match=message):
        CALLS[message](saved)
    assert saved.read_bytes() == before
