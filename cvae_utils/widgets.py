"""The slider apps, each a thin layer over plain functions that a test can call."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets
import torch
from PIL import Image
from torch import Tensor

from cvae_utils.checks import NUM_CLASSES, check_at_least
from cvae_utils.models import ConditionalVAE
from cvae_utils.plotting import tile


@dataclass(frozen=True)
class ExplorerState:
    """All that a picture of the explorer depends on.

    Attributes:
        digit: the label asked for, 0 to 9.
        seed: which random codes.
        shifts: latent dimension -> how far all codes are moved along it, in standard deviations
            of the prior.
    """

    digit: int = 0
    seed: int = 0
    shifts: tuple[tuple[int, float], ...] = ()


def check_digit(digit: int) -> None:
    """Raise a ValueError unless `digit` is one of 0 to 9."""
    if digit not in range(NUM_CLASSES):
        raise ValueError(f"digit must be a whole number from 0 to {NUM_CLASSES - 1}, got {digit!r}")


@torch.no_grad()
def explore(model: ConditionalVAE, state: ExplorerState, count: int = 20) -> Tensor:
    """Draw `count` digits (count, 28, 28) of one label, each from a code of its own.

    The same state gives the same picture; another digit keeps the codes, so that only the label
    changes.

    Raises:
        ValueError: a digit outside 0 to 9, or a shift of a dimension that the model has not got.
    """
    check_at_least("count", count, 1)
    check_digit(state.digit)
    device = next(model.parameters()).device
    noise = torch.Generator().manual_seed(state.seed)
    z = torch.randn(count, model.latent_dim, generator=noise)  # on the CPU: alike on any device
    for dimension, shift in state.shifts:
        if dimension not in range(model.latent_dim):
            raise ValueError(
                f"shifts must name latent dimensions 0 to {model.latent_dim - 1}, got {dimension}"
            )
        z[:, dimension] += shift
    labels = torch.full((count,), state.digit, device=device)
    return model.generate(z.to(device), labels)


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


class DigitExplorer(ipywidgets.VBox):
    """Pick a digit, resample, move along latent dimensions; twenty digits follow.

    Args:
        model: an autoencoder that knows labels.
        dimensions: the latent dimensions that get a slider.
        digit: the label shown first.
    """

    COLUMNS = 10

    def __init__(
        self, model: ConditionalVAE, dimensions: Sequence[int] = (0, 1, 2), digit: int = 7
    ) -> None:
        self.model = model
        self.digit = ipywidgets.IntSlider(digit, 0, NUM_CLASSES - 1, description="digit")
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
        for control in (self.digit, self.seed, *self.shifts.values()):
            control.observe(self._redraw, names="value")
        self.resample.on_click(self._next_seed)
        super().__init__(
            [
                ipywidgets.HBox([self.digit, self.resample, self.seed]),
                # As many rows as it takes: side by side, many sliders would lose their tracks.
                ipywidgets.HBox(
                    list(self.shifts.values()), layout=ipywidgets.Layout(flex_flow="row wrap")
                ),
                self.picture,
                self.message,
            ]
        )
        self.add_class("digit-explorer")
        self._redraw()

    @property
    def state(self) -> ExplorerState:
        """The state that the controls stand for."""
        moved = tuple((dimension, slider.value) for dimension, slider in self.shifts.items())
        return ExplorerState(self.digit.value, self.seed.value, moved)

    def _next_seed(self, _: ipywidgets.Button) -> None:
        self.seed.value += 1

    def _redraw(self, _: object = None) -> None:
        # An exception in a callback would end in a log that nobody reads: show it here instead.
        try:
            self.picture.value = png(explore(self.model, self.state), self.COLUMNS)
            self.message.value = ""
        except Exception as error:
            self.message.value = f"<b>{html.escape(f'{type(error).__name__}: {error}')}</b>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Add the still picture, for pages that show no widgets."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs) or {}
        return bundle | {"image/png": base64.b64encode(self.picture.value).decode()}


def digit_explorer(
    model: ConditionalVAE, dimensions: Sequence[int] = (0, 1, 2), digit: int = 7
) -> DigitExplorer:
    """Return the app: twenty digits under a digit slider, a resample button and latent sliders.

    Raises:
        ValueError: a digit or a dimension that the model has not got.
    """
    explore(model, ExplorerState(digit, 0, tuple((d, 0.0) for d in dimensions)))
    return DigitExplorer(model, dimensions, digit)
