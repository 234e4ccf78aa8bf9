"""The apps: each wires controls to one of the functions in `pictures`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ipycanvas
import ipywidgets
import numpy as np
from torch import Tensor

from cvae_utils.checks import check_classes, check_labels
from cvae_utils.data import DIGITS
from cvae_utils.masks import HEIGHT, WIDTH, grey_out
from cvae_utils.models import ConditionalGenerator, ConditionalVAE, InpaintingCVAE
from cvae_utils.widgets.explorer import Explorer, label_slider
from cvae_utils.widgets.pictures import (
    TOOLS,
    DrawingState,
    DuelState,
    ExplorerState,
    HoleState,
    MorphState,
    Stroke,
    StyleState,
    check_digit,
    check_image,
    duel,
    explore,
    fill,
    fill_page,
    morph,
    page,
    restyle,
)


def _with_sliders(model: ConditionalGenerator, dimensions: Sequence[int] | None) -> Sequence[int]:
    """Return which latent dimensions get one: the first three, as far as there are, for None."""
    return range(min(3, model.latent_dim)) if dimensions is None else dimensions


class DigitExplorer(Explorer):
    """Pick a digit, resample, move along latent dimensions; twenty digits follow.

    Args:
        model: one that knows labels, an autoencoder or a GAN.
        dimensions: the latent dimensions that get a slider; None is the first three.
        digit: the label shown first; None is 7, or the last one where there are not so many.
        names: dimension -> what a move to the right seems to do.
        classes: the labels' names, as many as the model has.

    Raises:
        ValueError: a digit or a dimension that the model has not got.
    """

    NAME, COLUMNS = "digit-explorer", 10

    def __init__(
        self,
        model: ConditionalGenerator,
        dimensions: Sequence[int] | None = None,
        digit: int | None = None,
        names: dict[int, str] | None = None,
        classes: Sequence[str] = DIGITS,
    ) -> None:
        digit = min(7, model.num_classes - 1) if digit is None else digit
        first = check_digit(digit, num_classes=model.num_classes)
        self.model = model
        self.digit = label_slider(first, classes, num_classes=model.num_classes)
        super().__init__([self.digit], _with_sliders(model, dimensions), names)

    @property
    def state(self) -> ExplorerState:
        """The state that the controls stand for."""
        return ExplorerState(self.digit.value, self.seed.value, self.moved)

    def draw(self) -> Tensor:
        """Return twenty digits (20, 28, 28)."""
        return explore(self.model, self.state)


class StyleExplorer(Explorer):
    """Pick a digit; three handwritten ones lend their style to every label.

    It begins with 5, or with the first image's label where there is no five.

    Args:
        model: an autoencoder that knows labels.
        images: (N, 28, 28) in [0, 1], handwritten.
        labels: (N,) int64.
        classes: the labels' names, as many as the model has.
    """

    NAME = "style-explorer"

    def __init__(
        self,
        model: ConditionalVAE,
        images: Tensor,
        labels: Tensor,
        classes: Sequence[str] = DIGITS,
    ) -> None:
        self.model, self.images, self.labels = model, images, labels
        self.COLUMNS = 1 + model.num_classes
        check_labels("labels", labels, num_classes=model.num_classes)
        wanted = StyleState().digit
        first = wanted if (labels == wanted).any() else int(labels[0])
        self.digit = label_slider(first, classes, num_classes=model.num_classes)
        super().__init__([self.digit])

    @property
    def state(self) -> StyleState:
        """The state that the controls stand for."""
        return StyleState(self.digit.value, self.seed.value)

    def draw(self) -> Tensor:
        """Return three rows: a handwritten digit and every label, (3 COLUMNS, 28, 28)."""
        return restyle(self.model, self.images, self.labels, self.state)


class MorphExplorer(Explorer):
    """Pick two labels and two styles; a grid leads from one to the other.

    Args:
        model: one that knows labels, an autoencoder or a GAN.
        classes: the labels' names, as many as the model has.
    """

    NAME, COLUMNS = "morph-explorer", 11

    def __init__(self, model: ConditionalGenerator, classes: Sequence[str] = DIGITS) -> None:
        self.model, start, most = model, MorphState(), model.num_classes - 1
        first, last = min(start.first, most - 1), min(start.last, most)  # two, of two classes even
        self.first = label_slider(first, classes, "from", model.num_classes)
        self.last = label_slider(last, classes, "to", model.num_classes)
        super().__init__([self.first, self.last])

    @property
    def state(self) -> MorphState:
        """The state that the controls stand for."""
        return MorphState(self.first.value, self.last.value, self.seed.value)

    def draw(self) -> Tensor:
        """Return a grid of five styles and eleven mixtures of two labels, (55, 28, 28)."""
        return morph(self.model, self.state, self.COLUMNS)


class DuelExplorer(Explorer):
    """Pick a digit; several models draw it, a row each.

    Args:
        models: name -> a model that knows labels.
        classes: the labels' names, as many as the model has.
    """

    NAME, COLUMNS = "duel-explorer", 10

    def __init__(
        self, models: Mapping[str, ConditionalGenerator], classes: Sequence[str] = DIGITS
    ) -> None:
        self.models, start = dict(models), DuelState()
        for model in self.models.values():
            check_classes("classes", classes, model.num_classes)
        first = min(start.digit, len(classes) - 1)
        self.digit = label_slider(first, classes, num_classes=len(classes))
        self.temperature = ipywidgets.FloatSlider(
            start.temperature,
            min=0.1,
            max=1.5,
            step=0.1,
            description="temperature",
            style={"description_width": "initial"},
        )
        super().__init__([self.digit, self.temperature])

    @property
    def state(self) -> DuelState:
        """The state that the controls stand for."""
        return DuelState(self.digit.value, self.seed.value, self.temperature.value)

    def draw(self) -> Tensor:
        """Return ten digits of each model, (10 * models, 28, 28)."""
        return duel(list(self.models.values()), self.state)


class HoleExplorer(Explorer):
    """Choose an image, move and resize its hole, resample; ten completions follow.

    Args:
        model: an inpainting model.
        images: (N, 28, 28) in [0, 1].
        dimensions: the latent dimensions that get a slider; None is the first three.

    Raises:
        ValueError: images of another shape or range, or a dimension that the model has not got.
    """

    NAME, COLUMNS, ZOOM = "hole-explorer", 7, 3

    def __init__(
        self, model: InpaintingCVAE, images: Tensor, dimensions: Sequence[int] | None = None
    ) -> None:
        self.model, self.images, start = model, images, HoleState()
        check_image(start.image, images)
        slider = ipywidgets.IntSlider
        self.image = slider(start.image, 0, len(images) - 1, description="image")
        self.top = slider(start.top, 0, HEIGHT - 1, description="top row")
        self.left = slider(start.left, 0, WIDTH - 1, description="left column")
        self.size = slider(start.size, 0, HEIGHT, description="size")
        choices = [self.image, self.top, self.left, self.size]
        super().__init__(choices, _with_sliders(model, dimensions))

    @property
    def state(self) -> HoleState:
        """The state that the controls stand for."""
        where = (self.image.value, self.top.value, self.left.value, self.size.value)
        return HoleState(*where, self.seed.value, self.moved)

    def draw(self) -> Tensor:
        """Return the image without and with its hole, ten completions, mean and spread."""
        return fill(self.model, self.images, self.state)


class DrawingExplorer(Explorer):
    """Draw on a page with the mouse or a finger; the model fills what it cannot see, ten times.

    The page is hidden as a whole at first, and every stroke lets the model see what it touches; or
    a handwritten digit lies on it, and strokes hide parts.

    Args:
        model: an inpainting model that was trained with mixed masks.
        images: (N, 28, 28) in [0, 1], to draw on.
    """

    NAME, COLUMNS, ZOOM = "drawing-explorer", 6, 3
    EMPTY = "empty, all hidden"
    SIDE = 10  # screen pixels per pixel of the page
    PAUSE = 0.1  # seconds between two fillings while the mouse moves: they must not pile up

    def __init__(self, model: InpaintingCVAE, images: Tensor) -> None:
        self.model, self.images = model, images
        self.strokes: list[Stroke] = []
        self._drawing, self._filled_at = False, 0.0
        pages = [self.EMPTY, *(f"image {n}" for n in range(len(images)))]
        self.image = ipywidgets.Dropdown(options=pages, description="page")
        self.tool = ipywidgets.ToggleButtons(
            options=list(TOOLS),
            tooltips=["write", "wipe to empty paper", "take out of the model's sight"],
            style={"button_width": "80px"},
        )
        self.again = ipywidgets.Button(description="Start over", icon="trash")
        self.canvas = ipycanvas.Canvas(width=WIDTH * self.SIDE, height=HEIGHT * self.SIDE)
        self.canvas.layout = ipywidgets.Layout(
            margin="2px", flex="0 0 auto", align_self="flex-start"
        )
        self.image.observe(self._clear, names="value")  # before the frame's own observer redraws
        super().__init__([self.image, self.tool, self.again], beside=self.canvas)
        self.again.on_click(self._start_over)
        self.canvas.on_client_ready(self._show_anew)
        self.canvas.on_mouse_down(self.begin)
        self.canvas.on_mouse_move(self.move)
        self.canvas.on_mouse_up(self.end)
        self.canvas.on_mouse_out(self.end)
        self.canvas.on_touch_start(lambda touches: self.begin(*touches[0]))
        self.canvas.on_touch_move(lambda touches: self.move(*touches[0]))
        self.canvas.on_touch_end(self.end)
        self.canvas.on_touch_cancel(self.end)
        self._show_page()

    @property
    def state(self) -> DrawingState:
        """The state that the controls and the strokes stand for."""
        image = None if self.image.value == self.EMPTY else self.image.index - 1
        return DrawingState(image, tuple(self.strokes), self.seed.value)

    def draw(self) -> Tensor:
        """Return ten completions of the page, their mean and their spread."""
        return fill_page(self.model, self.images, self.state)

    def redraw(self, _: object = None) -> None:
        """Show the page, and what the model makes of it."""
        with self.turn:
            super().redraw()
            self._show_page()
            self._filled_at = time.monotonic()

    def begin(self, x: float, y: float) -> None:
        """Begin a stroke at a point of the canvas, in screen pixels."""
        # A comm's events come on the thread that last wrote to it. Those of the other controls
        # write back, those of a canvas do not: left on a thread of their own, strokes that wait
        # there would land on a page that was chosen after them.
        self.canvas.send({})
        with self.turn:
            self._drawing = True
            self.strokes.append(Stroke(self.tool.value, (self._point(x, y),)))
            self.redraw()

    def move(self, x: float, y: float) -> None:
        """Lead the stroke on, if one has begun."""
        with self.turn:
            if not self._drawing:
                return
            tool, points = self.strokes.pop()
            self.strokes.append(Stroke(tool, (*points, self._point(x, y))))
            if time.monotonic() - self._filled_at > self.PAUSE:
                self.redraw()
            else:
                self._show_page()

    def end(self, *_: Any) -> None:
        """End the stroke: what is shown now belongs to all of it."""
        with self.turn:
            if self._drawing:
                self._drawing = False
                self.redraw()

    def _point(self, x: float, y: float) -> tuple[float, float]:
        # Pixel 0 reaches from 0 to SIDE on the screen, its centre lies in between.
        return round(y / self.SIDE - 0.5, 1), round(x / self.SIDE - 0.5, 1)

    def _clear(self, _: object = None) -> None:
        with self.turn:
            self.strokes.clear()
            self._drawing = False  # a stroke that is being drawn goes with the others

    def _start_over(self, _: ipywidgets.Button) -> None:
        self._clear()
        self.redraw()

    def _show_anew(self) -> None:
        """Show the page to a browser that has just come: it begins with an empty canvas.

        It knows of no canvas at all, so that commands must name theirs again. ipycanvas names it
        when the canvas is another one than that of the last command.
        """
        with self.turn:
            self.canvas._canvas_manager._current_canvas = None
            self._show_page()

    def _show_page(self) -> None:
        with self.errors_shown():
            image, mask = page(self.images, self.state)
            paper = 1 - grey_out(image[None], mask)  # (1, 28, 28)
            grey = (paper * 255).round().byte().numpy().reshape(-1, 1).repeat(3, axis=1)
            rows, columns = np.indices((HEIGHT, WIDTH)).reshape(2, -1) * self.SIDE
            with ipycanvas.hold_canvas():
                self.canvas.fill_styled_rects(columns, rows, self.SIDE, self.SIDE, grey)
