"""What the apps show: plain functions, a state in, images out.

A state holds all that a picture depends on. The same state gives the same picture, on any device:
noise is drawn on the CPU, from the seed in the state.
"""

from __future__ import annotations

import copy
import functools
import io
import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import NoneType
from typing import NamedTuple, TypeVar, get_args

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from cvae_utils import masks
from cvae_utils.checks import (
    IMAGE_SHAPE,
    NUM_CLASSES,
    check_at_least,
    check_beside,
    check_choice,
    check_is,
    check_labels,
    check_number,
    check_positive,
    check_seed,
    check_unit_images,
    check_whole,
)
from cvae_utils.models import ConditionalGenerator, ConditionalVAE, Gaussian, InpaintingCVAE
from cvae_utils.models.base import check_model, one_hot_labels
from cvae_utils.plotting import tile

Drawer = TypeVar("Drawer", bound=ConditionalGenerator)
# latent dimension -> how far all codes are moved along it, in standard deviations of the prior
Shifts = Mapping[int, float]

TOOLS = ("ink", "paper", "hide")
FARTHEST = 1e6  # shift of a code: anything but a slip of the pen
INK_RADIUS, BRUSH_RADIUS = 1.2, 2.5  # pixels


class Stroke(NamedTuple):
    """One stroke of a tool over the page.

    Attributes:
        tool: `"ink"` writes and lets the model see what is written, `"paper"` wipes and lets it see
            the empty paper, `"hide"` takes pixels out of sight.
        points: (row, column) in pixels, joined by straight lines.
    """

    tool: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ExplorerState:
    """All that a picture of the digit explorer depends on.

    Attributes:
        digit: the label asked for.
        seed: which random codes.
        shifts: latent dimension -> how far all codes are moved along it, in standard deviations
            of the prior.
    """

    digit: int = 0
    seed: int = 0
    shifts: Shifts = field(default_factory=dict)


@dataclass(frozen=True)
class StyleState:
    """All that a picture of the style explorer depends on.

    Attributes:
        digit: the label of the handwritten digits whose style is taken.
        seed: which of them.
    """

    digit: int = 5
    seed: int = 0


@dataclass(frozen=True)
class MorphState:
    """All that a picture of the morph explorer depends on.

    Attributes:
        first: the label on the left.
        last: the label on the right.
        seed: which two styles, above and below.
    """

    first: int = 3
    last: int = 8
    seed: int = 0


@dataclass(frozen=True)
class DuelState:
    """All that a picture of several models side by side depends on.

    Attributes:
        digit: the label asked for.
        seed: which random codes, the same for each model.
        temperature: how far from zero they are drawn, in standard deviations of the prior.
    """

    digit: int = 3
    seed: int = 0
    temperature: float = 0.9


@dataclass(frozen=True)
class HoleState:
    """All that a picture of the hole explorer depends on.

    Attributes:
        image: which of the images.
        top: the first hidden row.
        left: the first hidden column.
        size: hidden rows and columns; 0 hides nothing, 28 everything.
        seed: which random codes.
        shifts: as in `ExplorerState`.
    """

    image: int = 0
    top: int = 9
    left: int = 9
    size: int = 10
    seed: int = 0
    shifts: Shifts = field(default_factory=dict)


@dataclass(frozen=True)
class DrawingState:
    """All that a picture of the drawing explorer depends on.

    Attributes:
        image: which of the images lies on the page at first; None is a page that is hidden as a
            whole.
        strokes: what has been done to it since, in order.
        seed: which random codes.
    """

    image: int | None = None
    strokes: tuple[Stroke, ...] = ()
    seed: int = 0


State = ExplorerState | StyleState | MorphState | DuelState | HoleState | DrawingState


def check_digit(digit: int, name: str = "digit", num_classes: int = NUM_CLASSES) -> int:
    """Return `digit` as a plain int; raise unless it is one of 0 to num_classes - 1.

    Raises:
        TypeError: not a whole number.
        ValueError: another number.
    """
    return check_at_least(name, digit, 0, num_classes - 1)


def check_image(image: int, images: Tensor) -> int:
    """Return `image` as a plain int; raise unless it numbers one of `images` (N, 28, 28) in [0, 1].

    Raises:
        TypeError: not a whole number.
        ValueError: another number, or images of another shape or range.
    """
    check_unit_images("images", images)
    image = check_whole("image", image)
    if image not in range(len(images)):
        raise ValueError(f"image must be from 0 to {len(images) - 1}, got {image!r}")
    return image


def shifted_noise(latent_dim: int, count: int, seed: int, shifts: Shifts) -> Tensor:
    """Draw `count` codes (count, latent_dim) in standard deviations of the prior, all shifted.

    Raises:
        ValueError: no codes, a seed out of range, a shift that is not finite or of a dimension that
            there is not.
    """
    latent_dim = check_at_least("latent_dim", latent_dim, 0)
    count = check_at_least("count", count, 1)
    seed = check_seed("seed", seed)
    check_is("shifts", shifts, Mapping, "latent dimension -> shift")
    eps = torch.randn(count, latent_dim, generator=torch.Generator().manual_seed(seed))
    for dimension, shift in shifts.items():
        dimension = check_whole("shifts", dimension)
        check_number(f"shifts[{dimension}]", shift, -FARTHEST, FARTHEST)
        if dimension not in range(latent_dim):
            wanted = (
                f"name latent dimensions 0 to {latent_dim - 1}" if latent_dim else "be empty here"
            )
            raise ValueError(f"shifts must {wanted}, got {dimension}")
        eps[:, dimension] += shift
    return eps


@torch.no_grad()
def explore(model: ConditionalGenerator, state: ExplorerState, count: int = 20) -> Tensor:
    """Draw `count` digits (count, 28, 28) of one label, each from a code of its own.

    Another digit keeps the codes, so that only the label changes.

    Raises:
        ValueError: a digit or a shift of a dimension that the model has not got.
    """
    check_model("model", model, ConditionalGenerator)
    check_is("state", state, ExplorerState)
    digit = check_digit(state.digit, num_classes=model.num_classes)
    model, weights = _resting(model), next(model.parameters())
    z = shifted_noise(model.latent_dim, count, state.seed, state.shifts).to(weights)
    return model.generate(z, torch.full((count,), digit, device=weights.device))


@torch.no_grad()
def restyle(
    model: ConditionalVAE, images: Tensor, labels: Tensor, state: StyleState, hands: int = 3
) -> Tensor:
    """Write every digit in the hands of some handwritten ones.

    The code of a handwritten digit, given its label, holds what the label does not say: the style.
    It is handed to the generation network together with each label.

    Args:
        model: an autoencoder that knows labels.
        images: (N, 28, 28) in [0, 1].
        labels: (N,) int64.
        state: which of them.
        hands: how many, if there are as many with that label.

    Returns:
        (hands * (1 + num_classes), 28, 28), for each the handwritten digit, then every label.

    Raises:
        ValueError: a digit that the model has not got, or one that is not among the labels.
    """
    check_model("model", model, ConditionalVAE)
    check_is("state", state, StyleState)
    digit = check_digit(state.digit, num_classes=model.num_classes)
    seed = check_seed("seed", state.seed)
    hands = check_at_least("hands", hands, 1)
    check_unit_images("images", images)
    check_labels("labels", labels, len(images), num_classes=model.num_classes)
    check_beside("labels", labels, images, "images")
    candidates = (labels == digit).nonzero().squeeze(1)
    if len(candidates) == 0:
        raise ValueError(f"digit must be one of the labels {labels.unique().tolist()}, "
                         f"got {digit}")  # fmt: skip
    order = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(seed))
    chosen = candidates[order[:hands].to(labels.device)]
    model, weights = _resting(model), next(model.parameters())
    device = weights.device
    written, told = images[chosen].to(weights), labels[chosen].to(device)
    z = model.recognize(written, told).mu  # (hands, latent_dim)
    each = model.num_classes
    digits = torch.arange(each, device=device).repeat(len(z))  # 0 ... 9, 0 ... 9, ...
    drawn = model.generate(z.repeat_interleave(each, 0), digits)
    rows = drawn.view(len(z), each, *IMAGE_SHAPE)
    return torch.cat([written[:, None], rows], dim=1).flatten(0, 1)


@torch.no_grad()
def morph(
    model: ConditionalGenerator, state: MorphState, columns: int = 11, rows: int = 5
) -> Tensor:
    """Draw a grid in which the label changes from left to right and the style from top to bottom.

    Between two labels the condition is a mixture, 70 % three and 30 % eight, say: no training
    example was like that. Between two styles the code turns from one to the other along a sphere,
    where the straight line would lead through the middle, and codes there are rare (White 2016).

    Returns:
        (rows * columns, 28, 28).

    Raises:
        ValueError: labels that the model has not got, fewer than two columns or rows.
    """
    check_model("model", model, ConditionalGenerator)
    check_is("state", state, MorphState)
    ends = [
        check_digit(state.first, "first", model.num_classes),
        check_digit(state.last, "last", model.num_classes),
    ]
    columns = check_at_least("columns", columns, 2)
    rows = check_at_least("rows", rows, 2)
    model, anchor = _resting(model), next(model.parameters())
    labels = torch.tensor(ends, device=anchor.device)
    first, last = one_hot_labels(labels, model.num_classes, anchor.dtype)  # (C,) each
    share = torch.linspace(0, 1, columns, dtype=anchor.dtype, device=anchor.device)[:, None]
    c = torch.lerp(first, last, share).repeat(rows, 1)  # (rows * columns, C)
    above, below = shifted_noise(model.latent_dim, 2, state.seed, {})  # (latent_dim,) each
    angle = torch.linspace(0, torch.pi / 2, rows)[:, None]
    styles = above * angle.cos() + below * angle.sin()  # (rows, latent_dim)
    z = styles.to(anchor).repeat_interleave(columns, 0)
    return model.paint(model.generation_net(z, c), c)


@torch.no_grad()
def duel(models: Sequence[ConditionalGenerator], state: DuelState, count: int = 10) -> Tensor:
    """Let several models draw the same digit, `count` times each.

    Returns:
        (len(models) * count, 28, 28), model after model.

    Raises:
        ValueError: a digit that a model has not got, a temperature that is not above 0, no models.
    """
    check_is("models", models, Sequence, "a sequence of models")
    for model in models:
        check_model("models", model, ConditionalGenerator)
    check_is("state", state, DuelState)
    check_at_least("the number of models", len(models), 1)
    for model in models:
        digit = check_digit(state.digit, num_classes=model.num_classes)
    check_positive("temperature", state.temperature)
    drawn = []
    for model in map(_resting, models):
        weights = next(model.parameters())
        eps = shifted_noise(model.latent_dim, count, state.seed, {}).to(weights)
        labels = torch.full((count,), digit, device=weights.device)
        drawn.append(model.generate(state.temperature * eps, labels).cpu())
    return torch.cat(drawn)


@torch.no_grad()
def complete(
    model: InpaintingCVAE, image: Tensor, mask: Tensor, seed: int, shifts: Shifts, count: int
) -> Tensor:
    """Fill what the mask hides in one image (28, 28), `count` times: (count, 28, 28).

    Another image or mask keeps the noise, which each prior p(z | c) turns into codes of its own.

    Raises:
        ValueError: no such image or mask, or a shift of a dimension that the model has not got.
    """
    check_model("model", model, InpaintingCVAE)
    check_is("image", image, Tensor)
    check_unit_images("image", image[None])
    masks.check_one_mask("mask", mask)
    model, weights = _resting(model), next(model.parameters())
    device = weights.device
    eps = shifted_noise(model.latent_dim, count, seed, shifts).to(device)
    given = masks.hide(image[None].to(weights), mask)  # (1, 2, 28, 28)
    prior: Gaussian = model.prior_net(model.condition(given))
    return model.generate(prior.at(eps), given.expand(count, -1, -1, -1))


def spread(images: Tensor) -> Tensor:
    """Return the standard deviation of each pixel over images (N, 28, 28), doubled: (28, 28).

    A pixel in [0, 1] has at most 0.5, so that the doubled one is black where opinions are divided.
    """
    check_unit_images("images", images)
    return 2 * images.std(dim=0, correction=0)


def fill(model: InpaintingCVAE, images: Tensor, state: HoleState, count: int = 10) -> Tensor:
    """Hide a square of one image and fill it in `count` ways.

    Args:
        model: an inpainting model, trained on mixed masks if the hole shall move.
        images: (N, 28, 28) in [0, 1]; the state says which one.
        state: image, hole, seed and shifts.
        count: how many completions, an even number.

    Returns:
        (4 + count, 28, 28), to be laid out in two rows. The image with its hole left grey, half
        of the completions, their mean; the whole image, the other half, their `spread`.

    Raises:
        ValueError: an image that is not among them, a hole of negative size, an odd count, or a
            shift of a dimension that the model has not got.
    """
    check_is("state", state, HoleState)
    count = check_even("count", count)
    original = images[check_image(state.image, images)]
    mask = masks.hole(state.top, state.left, state.size, state.size)
    completions = complete(model, original, mask, state.seed, state.shifts, count).cpu()
    original = original.cpu()
    flawed = masks.grey_out(original[None], mask)[0]  # (28, 28)
    return two_rows((flawed, original), completions)


def check_even(name: str, value: int) -> int:
    """Return `value` as a plain int; raise unless it is 2, 4, 6 or so: two rows, equally long."""
    value = check_at_least(name, value, 2)
    if value % 2:
        raise ValueError(f"{name} must be an even number, got {value}")
    return value


def two_rows(before: Sequence[Tensor], completions: Tensor) -> Tensor:
    """Put completions (N, 28, 28) in two rows: an image before each, mean and spread behind.

    Args:
        before: two images (28, 28), or none.
        completions: an even number of them.
    """
    check_unit_images("completions", completions)
    check_even("the number of completions", len(completions))
    check_is("before", before, Sequence, "two images or none")
    if len(before) not in (0, 2):
        raise ValueError(f"before must be two images or none, got {len(before)}")
    for image in before:
        check_is("before", image, Tensor)
        check_unit_images("before", image[None])
    rows = []
    behind = (completions.mean(0), spread(completions))
    for row, half in enumerate(completions.chunk(2)):
        rows += [*before[row : row + 1], *half, behind[row]]
    return torch.stack(rows)


def check_strokes(strokes: Sequence[Stroke]) -> None:
    """Raise unless `strokes` are each one of the `TOOLS` and a tuple of points.

    Where the points lie is looked at by `masks.distance`.

    Raises:
        TypeError: no Strokes, or points that are no tuple of tuples.
        ValueError: an unknown tool.
    """
    wanted = "a sequence of Strokes: a tool, and a tuple of (row, column) points"
    check_is("strokes", strokes, Sequence, wanted)
    for stroke in strokes:
        check_is("strokes", stroke, Stroke, wanted)
        check_choice("tool", stroke.tool, TOOLS)
        check_is("strokes", stroke.points, tuple, wanted)
        for point in stroke.points:
            check_is("strokes", point, tuple, wanted)


def _resting(model: Drawer) -> Drawer:
    """Return the model, or a copy of it while a part of it trains.

    In training batch normalization goes by the batch at hand and moves its running means: the same
    state would be drawn in another way each time, and looking would change the model. A copy, since
    the model itself may be training on another thread, which `models.base.at_rest` would disturb.
    """
    trains = any(part.training for part in model.modules())
    return copy.deepcopy(model).eval() if trains else model


@functools.lru_cache(maxsize=512)
def _distance(points: tuple[tuple[float, float], ...]) -> Tensor:
    # Every move of the mouse draws the page anew, of which only the last stroke has changed.
    return masks.distance(points)


def page(images: Tensor, state: DrawingState) -> tuple[Tensor, Tensor]:
    """Return what lies on the page after all strokes: image (28, 28) and mask, True if visible.

    Raises:
        ValueError: an image that is not among `images` (N, 28, 28), or an unknown tool.
    """
    check_is("state", state, DrawingState)
    check_strokes(state.strokes)
    if state.image is None:
        check_unit_images("images", images)
        image, mask = torch.zeros(IMAGE_SHAPE), torch.zeros(IMAGE_SHAPE, dtype=torch.bool)
    else:
        original = images[check_image(state.image, images)]
        image, mask = original.cpu(), torch.ones(IMAGE_SHAPE, dtype=torch.bool)
    for tool, points in state.strokes:
        distance = _distance(points)  # (28, 28)
        touched = distance <= BRUSH_RADIUS
        if tool == "ink":
            # One pixel of a soft edge, as the scanned digits have it; what was hidden is paper.
            ink = (INK_RADIUS + 0.5 - distance).clamp(0, 1)
            image = torch.maximum(torch.where(mask, image, 0), ink)
        elif tool == "paper":
            image = torch.where(touched, 0, image)
        mask = mask & ~touched if tool == "hide" else mask | touched
    return image, mask


def fill_page(
    model: InpaintingCVAE, images: Tensor, state: DrawingState, count: int = 10
) -> Tensor:
    """Fill what is hidden on the page in `count` ways.

    Returns:
        (2 + count, 28, 28), to be laid out in two rows. Half of the completions, their mean; the
        other half, their `spread`.

    Raises:
        ValueError: an image that is not among `images` (N, 28, 28), or an unknown tool.
    """
    count = check_even("count", count)
    image, mask = page(images, state)
    return two_rows((), complete(model, image, mask, state.seed, {}, count).cpu())


def png(images: Tensor, columns: int, zoom: int = 2, state: State | None = None) -> bytes:
    """Encode images (N, 28, 28) in [0, 1] as one PNG, `columns` to a row, dark on light.

    Args:
        images: in reading order.
        columns: images in a row.
        zoom: screen pixels per pixel.
        state: what the images were drawn from; it is kept inside the file, as JSON in its text
            `settings`, and `saved_state` reads it.

    Raises:
        TypeError: a state that holds something else than numbers and words.
        ValueError: images of another shape or range, columns or zoom below 1.
    """
    zoom = check_at_least("zoom", zoom, 1)
    check_is("state", state, (*get_args(State), NoneType), "a state of an app, or None")
    grey = (tile(images, columns, gap=4) * 255).round().byte()
    picture = Image.fromarray(grey.numpy())
    notes = PngInfo()
    if state is not None:
        try:
            named = {"state": type(state).__name__} | asdict(state)
            settings = json.dumps(named, default=operator.index)  # numpy's whole numbers
        except (TypeError, ValueError) as error:
            raise TypeError(f"state must hold what JSON can hold: {error}") from error
        notes.add_text("settings", settings)
    buffer = io.BytesIO()
    # Smooth zoom, light compression: the picture is sent over loopback, and speed is what is felt.
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.BICUBIC).save(
        buffer, "PNG", compress_level=1, pnginfo=notes
    )
    return buffer.getvalue()


def saved_state(picture: Path | str | bytes | memoryview) -> State:
    """Return the state that a saved picture was drawn from.

    Args:
        picture: the file that an app or `png` wrote, or what is in it (`app.picture.value`).

    Raises:
        OSError: no such file.
        ValueError: a file without a state.
    """
    check_is("picture", picture, (Path, str, bytes, memoryview), "a file or its bytes")
    content = Path(picture).read_bytes() if isinstance(picture, (Path, str)) else picture
    try:
        with Image.open(io.BytesIO(content)) as opened:
            fields = json.loads(opened.info["settings"])
        kind = {state.__name__: state for state in get_args(State)}[fields.pop("state")]
        # JSON's keys are text, and its sequences are lists.
        if "shifts" in fields:
            fields["shifts"] = {int(key): shift for key, shift in fields["shifts"].items()}
        if "strokes" in fields:
            fields["strokes"] = tuple(
                Stroke(tool, tuple((row, column) for row, column in points))
                for tool, points in fields["strokes"]
            )
        state: State = kind(**fields)
    except (
        OSError, KeyError, TypeError, ValueError, AttributeError,
        RecursionError, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        came = picture if isinstance(picture, (Path, str)) else "one without"
        wanted = "picture must be a PNG that holds the state of an app"
        raise ValueError(f"{wanted}, got {came} ({type(error).__name__}: {error})") from error
    return state
