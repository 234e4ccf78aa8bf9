"""Trained weights and unfinished runs as safetensors, with what they are in the file's own header.

The format holds numbers and text and nothing that could run. A digest over all of it stands in the
header too, so that a single changed byte is noticed.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from cvae_utils.checks import check_choice, check_is, check_number
from cvae_utils.data import NAMES, Dataset
from cvae_utils.files import write_whole
from cvae_utils.models import (
    GAN,
    MODELS,
    Classifier,
    ConditionalGenerator,
    ConditionalVAE,
    InpaintingCVAE,
    Model,
    build,
)
from cvae_utils.snapshots import Snapshot
from cvae_utils.training import Callback, History, pick_device

Kind = TypeVar("Kind", bound=nn.Module)

SHIPPED = "mnist"  # the data set that the weights in the repository have learned
_HEADER_KEY = "cvae_utils"
_RUN_KEY = "cvae_utils.run"
_DIGEST_KEY = "sha256"


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or of another kind; the message names it and the reason."""


@dataclass
class Provenance:
    """What produced a checkpoint.

    Attributes:
        model: the model's name, a key of `models.MODELS`.
        config: the constructor's arguments.
        command: the command that trained it.
        training: epochs, batch size, learning rate, seed, seconds, device, torch version.
        data: the data set's name, sizes and fingerprint.
        metrics: what was measured on the test split after training.
    """

    model: str
    config: dict[str, Any]
    command: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    def caveat(self, dataset: Dataset) -> str:
        """Say that `dataset`'s held-out digits are no test of this model; '' when they are.

        The offline digits are all from MNIST's training split: only weights that were trained on
        the offline training digits themselves have not seen the held-out ones.
        """
        if dataset.complete or self.data.get("fingerprint") == dataset.fingerprint:
            return ""
        return "seen in training: no test figure"


def folder(data: str = SHIPPED) -> Path:
    """Return the folder of a data set's weights: `checkpoints/`, and one below it for each other.

    Those for MNIST are shipped; `python -m cvae_utils prepare` trains the others.
    """
    check_choice("data", data, NAMES)
    shipped = Path(__file__).resolve().parent.parent / "checkpoints"
    return shipped if data == SHIPPED else shipped / data


def shipped() -> tuple[str, ...]:
    """Return the names of the weights in the repository, in alphabetical order."""
    return tuple(sorted(file.stem for file in folder().glob("*.safetensors")))


def save(path: Path | str, model: Model, provenance: Provenance) -> None:
    """Write weights and provenance to `path`, wholly or not at all, and without any loss.

    A model is rebuilt in 32 bits, so those of 64 are rounded when they come back. Weights that have
    been rounded to 16 bits (`train --half` does) take 16 bits in the file.

    Raises:
        TypeError: no model of the series, or a provenance with what JSON cannot hold in it.
        ValueError: a model under a name of its own, which `load` could not rebuild, or a provenance
            that does not rebuild this model.
    """
    check_is("path", path, (str, Path))
    check_is("model", model, (Classifier, ConditionalGenerator))
    check_choice("model.name", model.name, tuple(MODELS))
    check_is("provenance", provenance, Provenance)
    wanted = model.name, model.config
    if (provenance.model, provenance.config) != wanted:
        raise ValueError(
            "provenance must have the model's own name and config, "
            f"got {(provenance.model, provenance.config)} for {wanted}"
        )
    weights = {name: _packed(tensor.cpu()) for name, tensor in model.state_dict().items()}
    _write(Path(path), weights, _HEADER_KEY, asdict(provenance))


def _packed(weights: Tensor) -> Tensor:
    half = weights.half()
    return (half if torch.equal(half.to(weights.dtype), weights) else weights).contiguous()


def _write(path: Path, tensors: dict[str, Tensor], key: str, about: dict[str, Any]) -> None:
    try:
        text = json.dumps(about)
    except TypeError as error:
        raise TypeError(
            f"what stands beside the weights must be text and numbers: {error}"
        ) from None
    metadata = {key: text, _DIGEST_KEY: _digest(tensors, text)}
    write_whole(path, to_bytes(tensors, metadata=metadata))


def _read(path: Path, key: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors and the header's text under `key`, if every byte is as it was written."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged, or no safetensors file: {error}") from error
    if key not in header:
        what = "a checkpoint" if key == _HEADER_KEY else "an unfinished run"
        raise CheckpointError(f"{path} was not written by cvae_utils as {what}: no {key} in it")
    wanted, found = header.get(_DIGEST_KEY), _digest(tensors, header[key])
    if wanted != found:
        raise CheckpointError(f"{path} is damaged: SHA-256 {wanted} wanted, {found} found")
    return tensors, header[key]


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    """Return the SHA-256 over the header's text and over name, type, shape and bytes of each."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load(
    path: Path | str, device: torch.device | str = "cpu", trained_on: str | None = None
) -> tuple[Model, Provenance]:
    """Rebuild a model from its checkpoint, ready for evaluation, with its provenance.

    Args:
        path: a file, or a bare name such as `"label_cvae"`: weights in `folder(trained_on)`.
        device: where the model is wanted, as `training.pick_device` takes it.
        trained_on: the data set that the weights must have learned, one of `data.NAMES`. None
            takes any file, and for a bare name the shipped weights.

    Raises:
        TypeError: a path, a device or a name of another kind.
        ValueError: a device that is not there.
        CheckpointError: no such file, a damaged one, one that this project did not write, or one
            of another data set.
    """
    check_is("path", path, (str, Path))
    check_is("trained_on", trained_on, (str, NoneType), "a data set's name or None")
    device = pick_device(device)
    if isinstance(path, str) and Path(path).name == path and not Path(path).is_file():
        path = folder(trained_on or SHIPPED) / f"{path.removesuffix('.safetensors')}.safetensors"
    path = Path(path)
    if not path.is_file():
        mend = f"shipped weights: {', '.join(shipped())}"
        if not shipped():
            mend = "weights come with a clone of the repository, `pip install --editable .` in it"
        elif trained_on not in (None, SHIPPED):
            mend = f"`python -m cvae_utils prepare {trained_on}` trains those of the notebooks"
        raise CheckpointError(f"there is no checkpoint {path}; {mend}")
    weights, text = _read(path, _HEADER_KEY)
    try:
        provenance = _provenance(json.loads(text))
        with torch.device("meta"):  # shapes only: a small file may ask for an enormous model
            build(provenance.model, **provenance.config).load_state_dict(weights, assign=True)
        with torch.random.fork_rng(devices=[]):  # its first weights are thrown away
            model = build(provenance.model, **provenance.config)
        model.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not fit this version's models ({', '.join(MODELS)}): {error}"
        ) from error
    learned = provenance.data.get("name", "unknown data")
    if trained_on is not None and learned != trained_on:
        raise CheckpointError(f"{path} was trained on {learned}, {trained_on} was wanted")
    return model.to(device).eval(), provenance


def _provenance(header: dict[str, Any]) -> Provenance:
    """Return what a header says; a TypeError if it says it in another form."""
    provenance = Provenance(**header)
    for field_ in fields(provenance):
        kind = str if field_.name in ("model", "command") else dict
        check_is(field_.name, getattr(provenance, field_.name), kind)
    return provenance


def load_generator(
    path: Path | str, device: torch.device | str = "cpu", trained_on: str | None = None
) -> ConditionalGenerator:
    """Load a checkpoint that must draw digits on request: an autoencoder of labels, or a GAN.

    Raises:
        CheckpointError: as `load`, or the checkpoint is a classifier or an inpainting model.
    """
    model = _load_as(
        ConditionalGenerator, "a model that draws digits by label", path, device, trained_on
    )
    if isinstance(model, InpaintingCVAE):
        raise CheckpointError(
            f"{path} is a {model.name}, which fills holes; a model that draws digits by label "
            "was wanted"
        )
    return model


def load_vae(
    path: Path | str, device: torch.device | str = "cpu", trained_on: str | None = None
) -> ConditionalVAE:
    """Load a checkpoint that must be an autoencoder; see `load`.

    Raises:
        CheckpointError: as `load`, or the checkpoint is another model.
    """
    return _load_as(ConditionalVAE, "an autoencoder", path, device, trained_on)


def load_gan(
    path: Path | str, device: torch.device | str = "cpu", trained_on: str | None = None
) -> GAN:
    """Load a checkpoint that must be a GAN, with labels or without; see `load`.

    Raises:
        CheckpointError: as `load`, or the checkpoint is another model.
    """
    return _load_as(GAN, "a gan or cgan", path, device, trained_on)


def load_inpainting(
    path: Path | str, device: torch.device | str = "cpu", trained_on: str | None = None
) -> InpaintingCVAE:
    """Load a checkpoint that must be an inpainting model; see `load`.

    Raises:
        CheckpointError: as `load`, or the checkpoint is another model.
    """
    return _load_as(InpaintingCVAE, "an inpainting_cvae", path, device, trained_on)


def load_classifier(
    path: Path | str = "classifier",
    device: torch.device | str = "cpu",
    trained_on: str | None = None,
) -> Classifier:
    """Load a checkpoint that must be a classifier; see `load`.

    Raises:
        CheckpointError: as `load`, or the checkpoint is another model.
    """
    return _load_as(Classifier, "a classifier", path, device, trained_on)


def _load_as(
    kind: type[Kind],
    wanted: str,
    path: Path | str,
    device: torch.device | str,
    trained_on: str | None,
) -> Kind:
    model, provenance = load(path, device, trained_on)
    if not isinstance(model, kind):
        raise CheckpointError(f"{path} is a {provenance.model}, {wanted} was wanted")
    return model


def save_run(path: Path | str, history: History, about: dict[str, Any]) -> None:
    """Write an unfinished run, as of its last finished epoch, wholly or not at all.

    Args:
        path: the file.
        history: of the run; before the end of its first epoch, nothing is written.
        about: what must be the same when it goes on, as JSON can hold it: model, data, ...
    """
    check_is("path", path, (str, Path))
    check_is("history", history, History)
    check_is("about", about, dict)
    if history.snapshot is None or history.snapshot.epoch == 0:
        return
    header = {
        "about": about,
        "settings": history.settings,
        "epochs": history.epochs[: history.snapshot.epoch],
        "numbers": history.snapshot.numbers,
    }
    tensors = {name: t.cpu().contiguous() for name, t in history.snapshot.tensors.items()}
    _write(Path(path), tensors, _RUN_KEY, header)


def load_run(path: Path | str, about: dict[str, Any]) -> History:
    """Read an unfinished run, for `training.fit` to go on with.

    Args:
        path: the file.
        about: what it must be a run of, as `save_run` was told.

    Raises:
        CheckpointError: a damaged file, or a run of something else; the message says what differs.
    """
    check_is("path", path, (str, Path))
    check_is("about", about, dict)
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no unfinished run {path}")
    tensors, text = _read(path, _RUN_KEY)
    header = json.loads(text)
    try:
        parts = ("about", "epochs", "settings", "numbers")
        found, epochs, settings, numbers = (header[part] for part in parts)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not hold a run as this version writes it") from error
    about = json.loads(json.dumps(about))  # as the file has it: a tuple comes back as a list
    for name in sorted(found.keys() | about.keys()):
        if found.get(name) != about.get(name):
            raise CheckpointError(
                f"{path} is the unfinished run of something else: {name} is {found.get(name)!r} "
                f"there, {about.get(name)!r} was wanted"
            )
    snapshot = Snapshot(len(epochs), tensors, numbers)
    return History(epochs, settings["epochs"], True, settings, snapshot)


class RunFile(Callback):
    """Keeps an unfinished run in a file, so that a killed process loses little of it.

    Args:
        path: the file.
        about: see `save_run`.
        every: seconds between two writes, so that short epochs are not spent on writing.
    """

    def __init__(self, path: Path | str, about: dict[str, Any], every: float = 10.0) -> None:
        check_is("path", path, (str, Path))
        check_is("about", about, dict)
        check_number("every", every, least=0)
        self.path, self.about, self.every = Path(path), about, every
        self._written: Snapshot | None = None
        self._at = -math.inf

    def on_epoch(self, history: History) -> None:
        """Write, if the last time was long enough ago."""
        if time.monotonic() - self._at >= self.every:
            self._write(history)

    def on_end(self, history: History) -> None:
        """Write what the last writing did not have."""
        if history.snapshot is not self._written:
            self._write(history)

    def _write(self, history: History) -> None:
        save_run(self.path, history, self.about)
        self._written, self._at = history.snapshot, time.monotonic()
