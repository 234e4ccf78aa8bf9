"""The page that needs no Python: models as ONNX files, beside the page that runs them.

As a command::

    python -m cvae_utils.export --out build/page

ONNX is a file format for networks that programs other than PyTorch can run, here onnxruntime-web in
a browser. What is exported is what the apps call, from noise to pixels, so that nothing of a model
is written a second time in another language.
"""

from __future__ import annotations

import argparse
import copy
import json
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cvae_utils import checkpoints, data
from cvae_utils.checks import IMAGE_SHAPE
from cvae_utils.evaluation import most_used
from cvae_utils.files import write_whole
from cvae_utils.models import ConditionalGenerator, ConditionalVAE, Gaussian, InpaintingCVAE
from cvae_utils.widgets.pictures import BRUSH_RADIUS, INK_RADIUS

OPSET = 20  # of ONNX's operators: one that the page's onnxruntime knows, whatever torch prefers
SLIDERS = 6  # dimensions of the code that get one, the most used first, as in notebook 00
IMAGES = 1000  # handwritten digits that decide which these are


class Draw(nn.Module):
    """What `ConditionalGenerator.generate` computes, without its checks."""

    def __init__(self, model: ConditionalGenerator) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Map codes (B, latent_dim) and labels (B,) int64 to images (B, 28, 28)."""
        c = self.model.condition(labels)
        return self.model.paint(self.model.generation_net(z, c), c)


class Complete(nn.Module):
    """What `widgets.pictures.complete` computes after it has drawn its noise."""

    def __init__(self, model: InpaintingCVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, eps: Tensor, given: Tensor) -> Tensor:
        """Map noise (B, latent_dim) and one masked image (1, 2, 28, 28) to images (B, 28, 28)."""
        prior: Gaussian = self.model.prior_net(self.model.condition(given))  # (1, latent_dim)
        z = prior.mu + prior.std * eps  # -> (B, latent_dim)
        c = given.expand(len(eps), -1, -1, -1)  # (1, 2, 28, 28) -> (B, 2, 28, 28)
        return self.model.paint(self.model.generation_net(z, c), c)


def digits_onnx(model: ConditionalGenerator) -> bytes:
    """Export a model that draws digits: z (B, latent_dim), labels (B,) -> images (B, 28, 28)."""
    z, labels = torch.zeros(2, model.latent_dim), torch.arange(2)
    return _export(Draw(model), {"z": z, "labels": labels}, counted=("z", "labels"))


def holes_onnx(model: InpaintingCVAE) -> bytes:
    """Export a model that fills holes: eps (B, latent_dim), given (1, 2, 28, 28) -> (B, 28, 28)."""
    eps, given = torch.zeros(2, model.latent_dim), torch.zeros(1, 2, *IMAGE_SHAPE)
    return _export(Complete(model), {"eps": eps, "given": given}, counted=("eps",))


def _export(network: nn.Module, inputs: dict[str, Tensor], counted: Sequence[str]) -> bytes:
    """Return the network as the bytes of an ONNX file; a `counted` input has any length."""
    free = {0: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about its own insides
        program = torch.onnx.export(
            copy.deepcopy(network).cpu().eval(),  # the caller's stays where and as it is
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=["images"],
            dynamic_shapes={name: free if name in counted else None for name in inputs},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model_proto
    _tidy(model)
    _pack(model)
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString()
    return written


def _tidy(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes: they hold stack traces, with the paths of the files they name."""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, model.graph, model):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.graph.ClearField("value_info")


def _pack(model: onnx.ModelProto) -> None:
    """Let weights that 16 bits hold without loss take 16 bits, as `checkpoints.save` does.

    The network computes in 32 bits all the same: a cast follows each.
    """
    casts = []
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if weights.data_type != TensorProto.FLOAT or values.size < 100:
            continue
        half = values.astype("float16")
        if (half.astype("float32") == values).all():
            name = weights.name
            weights.CopyFrom(numpy_helper.from_array(half, f"{name}_16_bits"))
            casts.append(helper.make_node("Cast", [weights.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def sliders(
    model: ConditionalVAE, digits: data.Split, count: int = SLIDERS
) -> list[dict[str, Any]]:
    """Choose and name the dimensions of the code that matter, as the playground does.

    Args:
        model: an autoencoder that knows labels.
        digits: handwritten ones, to find out how many nats each dimension holds.
        count: how many are wanted.
    """
    return [
        {"dimension": dimension, "name": word}
        for dimension, word in most_used(model, digits, count).items()
    ]


def source() -> Path:
    """Return the folder of the page's own files: the project's `page/`."""
    return checkpoints.folder().parent / "page"


def write_page(
    out: Path,
    digits: data.Split,
    cvae: str | Path = "conv_cvae",
    inpainting: str | Path = "inpainting_mixed",
    home: str | None = None,
) -> int:
    """Write the whole page into a folder, models and all.

    Args:
        out: the folder; what has other names in it stays.
        digits: handwritten ones; they decide which sliders there are, none of them is written.
        cvae: a checkpoint that draws digits.
        inpainting: a checkpoint that fills any hole.
        home: where its reader finds the notebooks, an address; without one the page has no link.

    Returns:
        The size of the page in bytes.

    Raises:
        CheckpointError: as `checkpoints.load`.
        ValueError: there is a file where the folder should be, or the page's own files are there.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"out must be a folder, got the file {out}")
    if out.resolve().is_relative_to(source().resolve()):
        raise ValueError(f"out must not be where the page's own files are, {source()}, got {out}")
    drawer, filler = checkpoints.load_vae(cvae), checkpoints.load_inpainting(inpainting)
    about: dict[str, Any] = {
        "digits": _about("digits.onnx", cvae, drawer)
        | {"labels": drawer.num_classes, "sliders": sliders(drawer, digits.take(IMAGES))},
        "holes": _about("holes.onnx", inpainting, filler)
        | {"ink_radius": INK_RADIUS, "brush_radius": BRUSH_RADIUS},
        "home": home,
    }
    own = [path for path in source().rglob("*") if path.is_file()]
    files = {str(path.relative_to(source())): path.read_bytes() for path in own}
    files |= {"models/digits.onnx": digits_onnx(drawer), "models/holes.onnx": holes_onnx(filler)}
    about["bytes"] = sum(map(len, files.values()))
    files["models/about.json"] = json.dumps(about, indent=2).encode()
    for name, content in files.items():
        write_whole(out / name, content)
    return sum(map(len, files.values()))


def _about(file: str, checkpoint: str | Path, model: ConditionalGenerator) -> dict[str, Any]:
    """Return what the page must know of a model, and what its reader may want to."""
    provenance = asdict(checkpoints.load(checkpoint)[1])
    return {
        "file": file,
        "checkpoint": Path(checkpoint).stem,
        "latent_dim": model.latent_dim,
        "side": IMAGE_SHAPE[0],
        "provenance": provenance,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and say how to open it; return the exit code: 0, or 1 for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m cvae_utils.export",
        description="Write the page that needs no Python: models in ONNX, and what runs them.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("build/page"),
        metavar="FOLDER",
        help="where it goes; what has other names there stays",
    )
    parser.add_argument(
        "--home",
        metavar="URL",
        default=argparse.SUPPRESS,
        help="where the notebooks are to be read, for a link to them (default: no link)",
    )
    options = parser.parse_args(arguments)
    try:
        digits = data.load(download=False).test
        size = write_page(options.out, digits, home=getattr(options, "home", None))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    folder = shlex.quote(str(options.out))
    print(
        f"wrote {options.out}, {size / 1e6:.1f} MB; any web server can serve it:\n"
        f"    python3 -m http.server --bind 127.0.0.1 --directory {folder} 8000\n"
        "and it opens at http://127.0.0.1:8000"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
