"""The slider apps, each a thin layer over plain functions that a test can call."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import ipywidgets
import torch
from PIL import Image
from torch import Tensor

from cvae_utils.checks import NUM_CLASSES, check_at_least, check_unit_images
from cvae_utils.masks import hide, hole
from cvae_utils.models import ConditionalGenerator, Gaussian, InpaintingCVAE
from cvae_utils.plotting import tile

# latent dimension -> how far all codes are moved along it, in standard deviations of the prior
Shifts = Mapping[int, float]


@dataclass(frozen=True)
class ExplorerState:
    """All that a picture of the digit explorer depends on.

    Attributes:
        digit: the label asked for, 0 to 9.
        seed: which random codes.
        shifts: latent dimension -> how far all codes are moved along it, in standard deviations
            of the prior.
    """

    digit: int = 0
    seed: int = 0
    shifts: Shifts = field(default_factory=dict)


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


def check_digit(digit: int) -> None:
    """Raise a ValueError unless `digit` is one of 0 to 9."""
    if digit not in range(NUM_CLASSES):
        raise ValueError(f"digit must be a whole number from 0 to {NUM_CLASSES - 1}, got {digit!r}")


def shifted_noise(latent_dim: int, count: int, seed: int, shifts: Shifts) -> Tensor:
    """Draw `count` codes (count, latent_dim) in standard deviations of the prior, all shifted.

    They are drawn on the CPU, so that a seed stands for the same picture on any device.
    """
    check_at_least("count", count, 1)
    eps = torch.randn(count, latent_dim, generator=torch.Generator().manual_seed(seed))
    for dimension, shift in shifts.items():
        if dimension not in range(latent_dim):
            raise ValueError(
                f"shifts must name latent dimensions 0 to {latent_dim - 1}, got {dimension}"
            )
        eps[:, dimension] += shift
    return eps


@torch.no_grad()
def explore(model: ConditionalGenerator, state: ExplorerState, count: int = 20) -> Tensor:
    """Draw `count` digits (count, 28, 28) of one label, each from a code of its own.

    The same state gives the same picture; another digit keeps the codes, so that only the label
    changes.

    Raises:
        ValueError: a digit outside 0 to 9, or a shift of a dimension that the model has not got.
    """
    check_digit(state.digit)
    device = next(model.parameters()).device
    z = shifted_noise(model.latent_dim, count, state.seed, state.shifts).to(device)
    return model.generate(z, torch.full((count,), state.digit, device=device))


@torch.no_grad()
def fill(model: InpaintingCVAE, images: Tensor, state: HoleState, count: int = 10) -> Tensor:
    """Hide a square of one image and fill it in `count` ways.

    The same state gives the same picture; another image or hole keeps the noise, which each
    prior p(z | c) turns into codes of its own.

    Args:
        model: an inpainting model, trained on mixed masks if the hole shall move.
        images: (N, 28, 28) in [0, 1]; the state says which one.
        state: image, hole, seed and shifts.
        count: how many completions.

    Returns:
        (2 + count, 28, 28): the image with its hole left grey, the whole image, the completions.

    Raises:
        ValueError: an image that is not among them, a hole of negative size, or a shift of a
            dimension that the model has not got.
    """
    check_unit_images("images", images)
    if state.image not in range(len(images)):
        raise ValueError(f"image must be from 0 to {len(images) - 1}, got {state.image!r}")
    device = next(model.parameters()).device
    eps = shifted_noise(model.latent_dim, count, state.seed, state.shifts).to(device)
    original = images[state.image : state.image + 1].to(device)  # (1, 28, 28)
    mask = hole(state.top, state.left, state.size, state.size).to(device)
    given = hide(original, mask)  # (1, 2, 28, 28)
    prior: Gaussian = model.prior_net(model.condition(given))
    completions = model.generate(prior.at(eps), given.expand(count, -1, -1, -1))
    return torch.cat([torch.where(mask, original, 0.5), original, completions])


def png(images: Tensor, columns: int, zoom: int = 2) -> bytes:
    """Encode images (N, 28, 28) in [0, 1] as one PNG, `columns` to a row, dark on light."""
    check_at_least("zoom", zoom, 1)
    grey = (tile(images, columns, gap=4) * 255).round().byte()
    picture = Image.fromarray(grey.numpy())
    buffer = io.BytesIO()
    # Smooth zoom, light compression: the picture is sent over loopback, and speed is what is felt.
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.BICUBIC).save(
        buffer, "PNG", compress_level=1
    )
    return buffer.getvalue()


class Explorer(ipywidgets.VBox):
    """Controls over a picture that follows them; a subclass says which, and draws it.

    Args:
        choices: the controls of the first row, beside the seed and the resample button.
        dimensions: the latent dimensions that get a slider.
    """

    COLUMNS: ClassVar[int]  # images in a row of the picture
    ZOOM: ClassVar[int] = 2

    def __init__(
        self, choices: Sequence[ipywidgets.ValueWidget], dimensions: Sequence[int]
    ) -> None:
        self.seed = ipywidgets.BoundedIntText(0, 0, 10**9, description="seed")
        self.resample = ipywidgets.Button(description="Resample", icon="refresh")
        self.shifts = {
            dimension: ipywidgets.FloatSlider(
                0,
                min=-3,
                max=3,
                step=0.1,
                description=f"move z[{dimension}]",
                layout=ipywidgets.Layout(width="300px", flex="0 0 auto"),
            )
            for dimension in dimensions
        }
        self.picture = ipywidgets.Image(format="png")
        self.message = ipywidgets.HTML()
        for control in (*choices, self.seed, *self.shifts.values()):
            control.observe(self._redraw, names="value")
        self.resample.on_click(self._next_seed)
        # As many rows as it takes: side by side, many sliders would lose their tracks.
        wrap = ipywidgets.Layout(flex_flow="row wrap")
        super().__init__(
            [
                ipywidgets.HBox([*choices, self.resample, self.seed], layout=wrap),
                ipywidgets.HBox(list(self.shifts.values()), layout=wrap),
                self.picture,
                self.message,
            ]
        )
        self._redraw()

    def draw(self) -> Tensor:
        """Return the images (N, 28, 28) that the controls stand for."""
        raise NotImplementedError

    @property
    def moved(self) -> dict[int, float]:
        """What the latent sliders stand at."""
        return {dimension: slider.value for dimension, slider in self.shifts.items()}

    def _next_seed(self, _: ipywidgets.Button) -> None:
        self.seed.value += 1

    def _redraw(self, _: object = None) -> None:
        # An exception in a callback would end in a log that nobody reads: show it here instead.
        try:
            self.picture.value = png(self.draw(), self.COLUMNS, self.ZOOM)
            self.message.value = ""
        except Exception as error:
            self.message.value = f"<b>{html.escape(f'{type(error).__name__}: {error}')}</b>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Add the still picture, for pages that show no widgets."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs) or {}
        return bundle | {"image/png": base64.b64encode(self.picture.value).decode()}


class DigitExplorer(Explorer):
    """Pick a digit, resample, move along latent dimensions; twenty digits follow.

    Args:
        model: one that knows labels, an autoencoder or a GAN.
        dimensions: the latent dimensions that get a slider.
        digit: the label shown first.
    """

    COLUMNS = 10

    def __init__(
        self, model: ConditionalGenerator, dimensions: Sequence[int] = (0, 1, 2), digit: int = 7
    ) -> None:
        self.model = model
        self.digit = ipywidgets.IntSlider(digit, 0, NUM_CLASSES - 1, description="digit")
        super().__init__([self.digit], dimensions)
        self.add_class("digit-explorer")

    @property
    def state(self) -> ExplorerState:
        """The state that the controls stand for."""
        return ExplorerState(self.digit.value, self.seed.value, self.moved)

    def draw(self) -> Tensor:
        """Return twenty digits (20, 28, 28)."""
        return explore(self.model, self.state)


class HoleExplorer(Explorer):
    """Choose an image, move and resize its hole, resample; ten completions follow.

    Args:
        model: an inpainting model.
        images: (N, 28, 28) in [0, 1].
        dimensions: the latent dimensions that get a slider.
    """

    COLUMNS = 12
    SIZE = 10  # of the hole at first

    def __init__(
        self, model: InpaintingCVAE, images: Tensor, dimensions: Sequence[int] = (0, 1, 2)
    ) -> None:
        self.model, self.images = model, images
        height, width = images.shape[1:]
        slider, start = ipywidgets.IntSlider, (height - self.SIZE) // 2
        self.image = slider(0, 0, len(images) - 1, description="image")
        self.top = slider(start, 0, height - 1, description="top row")
        self.left = slider(start, 0, width - 1, description="left column")
        self.size = slider(self.SIZE, 0, height, description="size")
        super().__init__([self.image, self.top, self.left, self.size], dimensions)
        self.add_class("hole-explorer")

    @property
    def state(self) -> HoleState:
        """The state that the controls stand for."""
        where = (self.image.value, self.top.value, self.left.value, self.size.value)
        return HoleState(*where, self.seed.value, self.moved)

    def draw(self) -> Tensor:
        """Return the flawed image, the whole one and ten completions, (12, 28, 28)."""
        return fill(self.model, self.images, self.state)


def digit_explorer(
    model: ConditionalGenerator, dimensions: Sequence[int] = (0, 1, 2), digit: int = 7
) -> DigitExplorer:
    """Return the app: twenty digits under a digit slider, a resample button and latent sliders.

    Raises:
        ValueError: a digit or a dimension that the model has not got.
    """
    explore(model, ExplorerState(digit, 0, dict.fromkeys(dimensions, 0.0)))
    return DigitExplorer(model, dimensions, digit)


def hole_explorer(
    model: InpaintingCVAE, images: Tensor, dimensions: Sequence[int] = (0, 1, 2)
) -> HoleExplorer:
    """Return the app: an image, its hole and ten completions under sliders that move the hole.

    Raises:
        ValueError: images of another shape or range, or a dimension that the model has not got.
    """
    fill(model, images, HoleState(shifts=dict.fromkeys(dimensions, 0.0)))
    return HoleExplorer(model, images, dimensions)
