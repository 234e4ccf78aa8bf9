"""The frame of every app: controls over one picture that follows them."""

from __future__ import annotations

import base64
import contextlib
import html
import io
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cvae_utils.checks import NUM_CLASSES, check_classes, check_whole
from cvae_utils.data import DIGITS
from cvae_utils.files import write_whole
from cvae_utils.widgets.pictures import State, png

STILL = "A still picture. Run this notebook, and controls appear that move it."
LOST = "The kernel was restarted or has died: run this cell again."
WRAP = ipywidgets.Layout(flex_flow="row wrap")  # as many rows as it takes: none gets too narrow

# A margin comes on top of 100%, and with it a scrollbar.
WHOLE = "calc(100% - 2 * var(--jp-widgets-margin))"  # of its place, between ipywidgets' margins

APP = "cvae-app"  # the class, in the page, of whatever the style sheet below is for
SEEDS = 10**9  # the last seed
# Nothing wider than its place, on a phone neither. And a page outlives its kernel: what says that
# the kernel is gone is a class that ipywidgets gives to views without a comm, or, when it was
# another page that restarted it, the notebook's own sign. That sign changes back as soon as a new
# kernel is there, which does not know this app: so an animation that stands still is let run, to
# its end, at which it stays. (The new kernel says *starting* once; a page that misses it never
# learns.) Of apps inside an app the outer one speaks, and it speaks for the many small signs that
# ipywidgets would draw over each control. What a seed is, the app says while one is typed: the
# front end leaves out what does not belong in a whole number, and the kernel never sees it.
GONE = ("starting", "restarting", "autorestarting", "terminating", "dead", "disconnected")
STYLE = f"""<style>
.{APP} {{ max-width: 100%; }}
.{APP} .widget-inline-hbox, .{APP} canvas, .{APP} img {{ max-width: {WHOLE}; }}
.{APP}.widget-tab > .lm-TabBar > .lm-TabBar-content {{ flex-wrap: wrap; }}
.{APP}.widget-tab > .lm-TabBar .lm-TabBar-tab {{ flex-basis: auto; }}
@media (max-width: 600px) {{
    .{APP} .widget-label {{ flex-shrink: 1; }}
    .{APP} .slider-container {{ min-width: 80px; }}
    .{APP} .widget-readout {{ min-width: 40px; }}
}}
.{APP} {{ animation: {APP}-lost 1ms forwards paused; }}
.{APP}.jupyter-widgets-disconnected, .jp-NotebookPanel:has(.jp-Notebook-ExecutionIndicator:is(
{", ".join(f"[data-status={status}]" for status in GONE)})) .{APP} {{
    animation-play-state: running;
}}
@keyframes {APP}-lost {{
    to {{ --{APP}-says: "{LOST}"; --{APP}-ink: 0.4; --{APP}-takes: inert; pointer-events: none; }}
}}
.{APP}::before {{
    content: var(--{APP}-says, none);
    padding: 6px 10px;
    border-left: 4px solid var(--jp-warn-color1, #f57c00);
    color: var(--jp-ui-font-color1, inherit);
    font-weight: bold;
}}
.{APP}:has(> * > * > .{APP}-seed:focus-within)::after {{
    content: "A seed is a whole number from 0 to {SEEDS}.";
    margin: var(--jp-widgets-margin);
    color: var(--jp-ui-font-color1, inherit);
}}
.{APP} > * {{ opacity: var(--{APP}-ink, 1); interactivity: var(--{APP}-takes, auto); }}
.{APP} .{APP} {{ animation: none; }}
.{APP} .{APP}::before, .{APP} .jupyter-widgets-disconnected::before {{ content: none; }}
.{APP} .{APP} > * {{ opacity: 1; }}
</style>"""


def label_slider(
    value: int,
    classes: Sequence[str] = DIGITS,
    description: str = "",
    num_classes: int = NUM_CLASSES,
) -> ipywidgets.IntSlider | ipywidgets.SelectionSlider:
    """Return a slider over the labels, whose values are 0 to num_classes - 1.

    Args:
        value: the label to begin with.
        classes: their names; digits can also be typed.
        description: stands before the slider; what the labels are if empty.
        num_classes: how many labels there are.

    Raises:
        ValueError: not a name for each label.
    """
    check_classes("classes", classes, num_classes)
    if tuple(classes) == DIGITS:
        return ipywidgets.IntSlider(value, 0, num_classes - 1, description=description or "digit")
    options = [(name, label) for label, name in enumerate(classes)]
    return ipywidgets.SelectionSlider(
        options=options, value=value, description=description or "class"
    )


def still(picture: bytes) -> bytes:
    """Return a PNG with a sentence below it that says why nothing moves."""
    image = Image.open(io.BytesIO(picture))
    line = 24
    page = Image.new("L", (max(image.width, 480), image.height + line), 255)
    page.paste(image)
    font = ImageFont.load_default(14)
    ImageDraw.Draw(page).text((2, image.height + 4), STILL, fill=90, font=font)
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


class Explorer(ipywidgets.VBox):
    """Controls over a picture that follows them; a subclass says which, and draws it.

    A redraw is a function of `state` and nothing else: one decoding, one PNG, handed to an image
    that is never cleared, so that nothing flickers. Events of one control that come faster than
    redraws are merged by the front end, which sends the next position when the last one has been
    drawn. Events of several controls may come at once, on different threads of the kernel
    (JupyterLab handles comms in subshells): they take turns.

    A known limit: a screen reader is told what a slider stands at, but not which one it is.
    ipywidgets gives the knobs no name, and nothing that is written here runs in the page.

    Args:
        choices: the controls of the first row, beside the seed and the buttons.
        dimensions: the latent dimensions that get a slider.
        names: dimension -> what a move to the right seems to do; the slider says it.
        beside: stands at the left of the picture.

    Raises:
        ValueError: a state to begin with that cannot be drawn.
    """

    NAME: ClassVar[str]  # of the app: its class in the page, and the start of saved files' names
    COLUMNS: int  # images in a row of the picture
    ZOOM: ClassVar[int] = 2
    FOLDER: ClassVar[str] = "pictures"  # where *Save* puts them, below the notebook's folder

    def __init__(
        self,
        choices: Sequence[ipywidgets.Widget],
        dimensions: Sequence[int] = (),
        names: dict[int, str] | None = None,
        beside: ipywidgets.Widget | None = None,
    ) -> None:
        self.seed = ipywidgets.BoundedIntText(
            0,
            0,
            SEEDS,
            description="seed",
            style={"description_width": "40px"},
            layout=ipywidgets.Layout(width="140px"),
        )
        self.seed.add_class(f"{APP}-seed")
        self.resample = ipywidgets.Button(description="Resample", icon="refresh")
        self.centre = ipywidgets.Button(
            description="Centre", icon="crosshairs", tooltip="all shifts back to 0"
        )
        self.save = ipywidgets.Button(description="Save", icon="download")
        self.shifts = {
            check_whole("dimensions", dimension): ipywidgets.FloatSlider(
                0,
                min=-3,
                max=3,
                step=0.1,
                description=(names or {}).get(dimension, f"move z[{dimension}]"),
                style={"description_width": "130px"},
                layout=ipywidgets.Layout(width="350px", flex="0 0 auto"),
            )
            for dimension in dimensions
        }
        # Or a thread that read the state early could show its picture late, and for good.
        self.turn = threading.RLock()
        # Its own size on every screen that is wide enough, and never out of proportion.
        fixed = ipywidgets.Layout(align_self="flex-start", flex="0 1 auto")
        self.picture = ipywidgets.Image(value=self.render(), format="png", layout=fixed)
        apart = ipywidgets.Layout(flex_flow="row wrap", grid_gap="10px")
        self.message = ipywidgets.HTML()
        for control in (*choices, self.seed, *self.shifts.values()):
            if isinstance(control, ipywidgets.ValueWidget):
                control.observe(self.redraw, names="value")
        self.resample.on_click(self._next_seed)
        self.centre.on_click(self._centre)
        self.save.on_click(self._save)
        centre = [self.centre] if self.shifts else []
        # In a box of their own: none of them stands alone on a line where they could go together.
        buttons = ipywidgets.HBox([self.resample, *centre, self.seed, self.save], layout=WRAP)
        super().__init__(
            [
                ipywidgets.HBox([*choices, buttons], layout=WRAP),
                ipywidgets.HBox(list(self.shifts.values()), layout=WRAP),
                ipywidgets.HBox([beside, self.picture], layout=apart) if beside else self.picture,
                self.message,
                ipywidgets.HTML(STYLE, layout=ipywidgets.Layout(display="none")),
            ]
        )
        self.add_class(APP)
        self.add_class(self.NAME)

    @property
    def state(self) -> State:
        """The state that the controls stand for."""
        raise NotImplementedError

    def draw(self) -> Tensor:
        """Return the images (N, 28, 28) of the state."""
        raise NotImplementedError

    def render(self) -> bytes:
        """Return the picture of the state as a PNG that carries it, see `saved_state`."""
        return png(self.draw(), self.COLUMNS, self.ZOOM, self.state)

    def redraw(self, _: object = None) -> None:
        """Show the picture of the state, or what went wrong on the way to it."""
        with self.turn, self.errors_shown():
            self.picture.value = self.render()
            self.message.value = ""

    @contextlib.contextmanager
    def errors_shown(self) -> Iterator[None]:
        """Show an exception in the app: from a callback it would go to a log that nobody reads."""
        try:
            yield
        except Exception as error:
            self.message.value = f"<b>{html.escape(f'{type(error).__name__}: {error}')}</b>"

    @property
    def moved(self) -> dict[int, float]:
        """What the latent sliders stand at."""
        return {dimension: slider.value for dimension, slider in self.shifts.items()}

    def _next_seed(self, _: ipywidgets.Button) -> None:
        self.seed.value = (self.seed.value + 1) % (self.seed.max + 1)

    def _centre(self, _: ipywidgets.Button) -> None:
        with self.turn:
            for slider in self.shifts.values():
                slider.unobserve(self.redraw, names="value")  # one picture for all, not one each
                slider.value = 0
                slider.observe(self.redraw, names="value")
            self.redraw()

    def _save(self, _: ipywidgets.Button) -> None:
        with self.errors_shown():
            picture = self.picture.value
            path = Path(self.FOLDER, f"{self.NAME}-{zlib.crc32(picture):08x}.png")
            write_whole(path, picture)
            self.message.value = f"Saved as {html.escape(str(path))}, with its settings inside."

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Add the still picture, for pages that show no widgets."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs) or {}
        picture = base64.b64encode(still(self.picture.value)).decode()
        return bundle | {"image/png": picture, "text/plain": STILL}
