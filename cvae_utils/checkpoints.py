"""Trained weights as safetensors, with what produced them in the file's own header."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from cvae_utils.data import Dataset
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

Kind = TypeVar("Kind", bound=nn.Module)

_HEADER_KEY = "cvae_utils"


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


def folder() -> Path:
    """Return the folder of the shipped weights: the project's `checkpoints/`."""
    return Path(__file__).resolve().parent.parent / "checkpoints"


def save(path: Path | str, model: nn.Module, provenance: Provenance) -> None:
    """Write weights and provenance to `path`, wholly or not at all, and without any loss.

    Weights that have been rounded to 16 bits (`train --half` does) take 16 bits in the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: _packed(tensor.cpu()) for name, tensor in model.state_dict().items()}
    content = to_bytes(weights, metadata={_HEADER_KEY: json.dumps(asdict(provenance))})
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _packed(weights: Tensor) -> Tensor:
    half = weights.half()
    return (half if torch.equal(half.to(weights.dtype), weights) else weights).contiguous()


def load(path: Path | str, device: torch.device | str = "cpu") -> tuple[Model, Provenance]:
    """Rebuild a model from its checkpoint, ready for evaluation, with its provenance.

    Args:
        path: a file, or the bare name of shipped weights such as `"label_cvae"`.
        device: where the model is wanted.

    Raises:
        CheckpointError: no such file, a damaged one, or one that this project did not write.
    """
    if isinstance(path, str) and Path(path).name == path and not Path(path).is_file():
        path = folder() / f"{path.removesuffix('.safetensors')}.safetensors"
    path = Path(path)
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in folder().glob("*.safetensors")))
        raise CheckpointError(f"there is no checkpoint {path}; shipped weights: {shipped}")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER_KEY)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged, or no safetensors file: {error}") from error
    if header is None:
        raise CheckpointError(f"{path} was not written by cvae_utils: its header has no provenance")
    try:
        provenance = Provenance(**json.loads(header))
        model = build(provenance.model, **provenance.config)
        model.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} does not fit this version's models ({', '.join(MODELS)}): {error}"
        ) from error
    return model.to(device).eval(), provenance


def load_generator(path: Path | str, device: torch.device | str = "cpu") -> ConditionalGenerator:
    """Load a checkpoint that must draw digits on request: an autoencoder of labels, or a GAN.

    Raises:
        CheckpointError: as `load`, or the checkpoint is a classifier or an inpainting model.
    """
    model = _load_as(ConditionalGenerator, "a model that draws digits by label", path, device)
    if isinstance(model, InpaintingCVAE):
        raise CheckpointError(
            f"{path} is a {model.name}, which fills holes; a model that draws digits by label "
            "was wanted"
        )
    return model


def load_vae(path: Path | str, device: torch.device | str = "cpu") -> ConditionalVAE:
    """Load a checkpoint that must be an autoencoder; see `load`.

    Raises:
        CheckpointError: as `load`, or the checkpoint is another model.
    """
    return _load_as(ConditionalVAE, "an autoencoder", path, device)


def load_gan(path: Path | str, device: torch.device | str = "cpu") -> GAN:
    """Load a checkpoint that must be a GAN, with labels or without; see `load`.

    Raises:
        CheckpointError: as `load`, or the checkpoint is another model.
    """
    return _load_as(GAN, "a gan or cgan", path, device)


def load_inpainting(path: Path | str, device: torch.device | str = "cpu") -> InpaintingCVAE:
    """Load a checkpoint that must be an inpainting model; see `load`.

    Raises:
        CheckpointError: as `load`, or the checkpoint is another model.
    """
    return _load_as(InpaintingCVAE, "an inpainting_cvae", path, device)


def load_classifier(
    path: Path | str = "classifier", device: torch.device | str = "cpu"
) -> Classifier:
    """Load a checkpoint that must be a classifier; see `load`.

    Raises:
        CheckpointError: as `load`, or the checkpoint is another model.
    """
    return _load_as(Classifier, "a classifier", path, device)


def _load_as(kind: type[Kind], wanted: str, path: Path | str, device: torch.device | str) -> Kind:
    model, provenance = load(path, device)
    if not isinstance(model, kind):
        raise CheckpointError(f"{path} is a {provenance.model}, {wanted} was wanted")
    return model
