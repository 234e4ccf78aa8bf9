"""Pictures: digit grids, rows to compare, learning curves, latent maps.

Digits are drawn as dark ink on light paper. Every function returns its figure, so that a test can
look at what it drew, and leaves showing it to the caller. A notebook shows a figure that a cell's
last line returns twice, as that line's value and as an open figure: end the cell in `plt.show()`,
or the line in `;`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from cvae_utils.checks import (
    check_at_least,
    check_classes,
    check_codes,
    check_floats,
    check_is,
    check_labels,
    check_texts,
    check_unit_images,
)
from cvae_utils.data import DIGITS
from cvae_utils.training import Callback, History

INCHES_PER_DIGIT = 0.42
PAPER = 1.0  # the value of empty paper, where ink is 0


# What the terms of the series' objectives are counted in; one that is unknown gets no unit.
UNITS = dict.fromkeys(
    ("loss", "reconstruction", "kl", "generator", "discriminator", "penalty"), "nats per image"
) | dict.fromkeys(("error", "real", "fake"), "share")
NAMES = {"kl": "KL"}  # terms that a title writes in another way
SHAPES = "osD^v<>PX*"  # marks of labels whose names are too long for one


def tile(images: Tensor, columns: int, gap: int = 2) -> Tensor:
    """Lay images out in rows of `columns`, as one picture of dark ink on light paper.

    Args:
        images: (N, 28, 28) in [0, 1], 1 is ink; filled in reading order.
        columns: images in a row; the last row may be short.
        gap: empty pixels between neighbours.

    Returns:
        (rows * (28 + gap) - gap, columns * (28 + gap) - gap) float32 on the CPU, 0 is ink.

    Raises:
        ValueError: images of another shape or range, columns below 1.
    """
    check_unit_images("images", images)
    columns = check_at_least("columns", columns, 1)
    gap = check_at_least("gap", gap, 0)
    count, height, width = images.shape
    rows = -(-count // columns)
    cells = torch.full((rows * columns, height + gap, width + gap), PAPER)
    cells[:count, :height, :width] = 1 - images.detach().float().cpu()
    cells = cells.view(rows, columns, height + gap, width + gap)
    picture = cells.transpose(1, 2).reshape(rows * (height + gap), columns * (width + gap))
    return picture[: picture.shape[0] - gap, : picture.shape[1] - gap]


def _show_tiles(
    axes: Axes,
    images: Tensor,
    columns: int,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
) -> None:
    gap = 2
    picture = tile(images, columns, gap)
    axes.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    pitch = 28 + gap
    centres = [14 + pitch * column for column in range(len(column_labels))]
    axes.set_xticks(centres, column_labels, fontsize="small")
    axes.xaxis.tick_top()
    axes.set_yticks([14 + pitch * row for row in range(len(row_labels))], row_labels)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)  # a name is shown as it is, whatever signs are in it
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def digit_grid(
    images: Tensor,
    columns: int,
    row_labels: Sequence[str] = (),
    title: str = "",
    column_labels: Sequence[str] = (),
) -> Figure:
    """Draw images in reading order, `columns` to a row.

    Args:
        images: (N, 28, 28) in [0, 1].
        columns: images in a row.
        row_labels: one text per row, or none at all.
        title: stands above the grid.
        column_labels: one text per column, above it, or none at all; a text may be empty.

    Raises:
        ValueError: images of another shape or range, not one label per row, or not one per column.
    """
    check_unit_images("images", images)
    columns = check_at_least("columns", columns, 1)
    check_texts("row_labels", row_labels)
    check_texts("column_labels", column_labels)
    check_is("title", title, str)
    rows = -(-len(images) // columns)
    if len(row_labels) not in (0, rows):
        raise ValueError(f"row_labels must have one text for each of {rows} rows, "
                         f"got {len(row_labels)}")  # fmt: skip
    if len(column_labels) not in (0, columns):
        raise ValueError(f"column_labels must have one text for each of {columns} columns, "
                         f"got {len(column_labels)}")  # fmt: skip
    size = (columns * INCHES_PER_DIGIT + 1, rows * INCHES_PER_DIGIT + 0.4)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    _show_tiles(axes, images, columns, row_labels, column_labels)
    axes.set_title(title)
    return figure


def compare_rows(
    rows: Mapping[str, Tensor], title: str = "", column_labels: Sequence[str] = ()
) -> Figure:
    """Draw one labelled row of images per entry, so that each column compares one example.

    Args:
        rows: row label -> (N, 28, 28) in [0, 1], the same N for each.
        title: stands above the rows.
        column_labels: one text for each of the N, above its column, or none at all.

    Raises:
        ValueError: no rows, rows of different length, images of another shape or range, or not
            one label per column.
    """
    check_is("rows", rows, Mapping, "row label -> images")
    check_texts("rows", tuple(rows))
    for label, images in rows.items():
        check_unit_images(f"rows[{label!r}]", images)
    counts = {label: len(images) for label, images in rows.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"rows must be one or more tensors of one length, got {counts}")
    images = torch.cat([images.detach().cpu() for images in rows.values()])
    return digit_grid(images, next(iter(counts.values())), list(rows), title, column_labels)


def learning_curves(history: History, axes: Sequence[Axes] | np.ndarray | None = None) -> Figure:
    """Draw every term of the objective over the epochs, each in a panel of its own.

    Args:
        history: what `training.fit` returned.
        axes: a panel for each term, also as `plt.subplots` returns them; None makes them.

    Raises:
        ValueError: not one panel for each term.
    """
    check_is("history", history, History)
    terms = [term for term in history.epochs[0] if term != "seconds"] if history.epochs else []
    if axes is None:
        size = (3.2 * max(1, len(terms)), 2.6)
        _, made = plt.subplots(1, max(1, len(terms)), figsize=size, layout="constrained",
                               squeeze=False)  # fmt: skip
        axes = list(made[0])
    if isinstance(axes, np.ndarray):
        axes = axes.ravel().tolist()
    _check_panels(axes, terms)
    for panel, term in zip(axes, terms, strict=bool(terms)):  # no epoch, no curve
        curve = history.curve(term)
        panel.plot(range(1, len(curve) + 1), curve, marker="o", markersize=3, color="#0072B2")
        panel.set(title=f"training {NAMES.get(term, term)}", xlabel="epoch")
        panel.set(ylabel=UNITS.get(term, ""), xlim=(0.5, max(history.planned, 2) + 0.5))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
    figure = axes[0].figure.figure  # of a part of a figure it is the whole
    assert isinstance(figure, Figure)  # noqa: S101 - for the type checker
    return figure


def _check_panels(axes: Sequence[Axes], terms: Sequence[str]) -> None:
    """Raise unless there is an Axes for each term, and one at least."""
    wanted = f"a matplotlib Axes for each of {terms}" if terms else "one matplotlib Axes or more"
    check_is("axes", axes, Sequence, wanted)
    for panel in axes:
        check_is("axes", panel, Axes, wanted)
    if not axes or (terms and len(axes) != len(terms)):
        raise ValueError(f"axes must be {wanted}, got {len(axes)}")


class LiveCurves(Callback):
    """Redraws the learning curves below the cell after every epoch."""

    def on_start(self, epochs: int, steps_per_epoch: int) -> None:
        """Open an output that later calls redraw."""
        from IPython.display import DisplayHandle  # not there on a machine without Jupyter

        self._handle = DisplayHandle()
        self._handle.display({"text/plain": ""}, raw=True)

    def on_epoch(self, history: History) -> None:
        """Draw the curves so far in the place of the last ones."""
        figure = learning_curves(history)
        self._handle.update(figure)
        plt.close(figure)  # or the notebook would show it a second time at the end of the cell


def _class_colours(count: int) -> list[tuple[float, ...]]:
    """Return as many colours, no two of them alike: matplotlib's first ten, or a wheel."""
    if count <= 10:
        return [plt.get_cmap("tab10")(n) for n in range(count)]
    # Neighbours on the wheel differ in how bright they are too: 26 hues alone look alike.
    wheel = [(n / count, 0.9, (0.9, 0.5, 0.7)[n % 3]) for n in range(count)]
    return [tuple(hsv_to_rgb(colour).tolist()) for colour in wheel]


def _mark(name: str, label: int) -> dict[str, Any]:
    """Return how scatter draws a code: as its name, if short, or in one of ten shapes."""
    if len(name) == 1 and name.isascii() and name.isalnum():  # no other sign is safe in a formula
        return {"marker": f"${name}$", "s": 26}
    return {"marker": SHAPES[label % len(SHAPES)], "s": 8, "alpha": 0.7}


def latent_scatter(
    codes: Tensor,
    labels: Tensor,
    title: str = "",
    names: tuple[str, str] = ("first latent dimension", "second latent dimension"),
    classes: Sequence[str] = DIGITS,
) -> Figure:
    """Draw two-dimensional codes, coloured by label, with each label's name at its median.

    A code is drawn as its label's name where that is one letter or digit, and otherwise as a mark
    of its label's shape: colour is not all that tells labels apart. A name at a median that would
    hide another one moves to the right of it.

    Args:
        codes: (N, 2).
        labels: (N,) int64.
        title: stands above the picture.
        names: of the two axes.
        classes: the labels' names, as many as there are.

    Raises:
        ValueError: codes that are not (N, 2), labels that do not match or have no name, fewer than
            two names.
    """
    check_codes("codes", codes, latent_dim=2)
    check_texts("classes", classes)
    check_classes("classes", classes, max(2, len(classes)))
    check_labels("labels", labels, batch=len(codes), num_classes=len(classes))
    check_is("title", title, str)
    check_texts("names", names)
    if len(names) != 2:
        raise ValueError(f"names must be of the two axes, got {len(names)}")
    codes, labels = codes.detach().cpu(), labels.cpu()
    codes = codes.to(torch.promote_types(codes.dtype, torch.float32))  # numpy knows no bfloat16
    figure, axes = plt.subplots(figsize=(7.2, 7), layout="constrained")
    colours = _class_colours(len(classes))
    room = 0.06 * (codes.max(0).values - codes.min(0).values)  # (2,), about a numeral's size
    room = room * torch.tensor([(1 + max(map(len, classes))) / 2, 1.0])  # a longer name, more
    taken: list[Tensor] = []
    for digit, name in enumerate(classes):
        chosen = codes[labels == digit]
        if len(chosen) == 0:
            continue
        across, up = chosen.T.numpy()
        axes.scatter(across, up, color=colours[digit], linewidths=0, **_mark(name, digit))
        place = chosen.median(dim=0).values
        step = room * torch.tensor([1.0, 0.0])
        while any(((place - other).abs() < room).all() for other in taken):
            if torch.equal(place + step, place):
                break  # so far from zero that the step is rounded away
            place = place + step
        taken.append(place)
        x, y = place.tolist()
        axes.text(x, y, name, fontsize=13, weight="bold", ha="center", va="center",
                  parse_math=False,  # a name is shown as it is, whatever signs are in it
                  bbox={"facecolor": "white", "edgecolor": colours[digit], "pad": 2})  # fmt: skip
    axes.set(title=title, xlabel=names[0], ylabel=names[1])
    axes.set_aspect("equal")
    return figure


def kl_bars(per_dimension: Tensor, title: str = "") -> Figure:
    """Draw the KL of each latent dimension as a bar, the most used dimension first.

    Args:
        per_dimension: (latent_dim,) nats.
        title: stands above the bars.

    Raises:
        ValueError: anything but one row of finite numbers.
    """
    check_floats("per_dimension", per_dimension, "D", finite=True)
    check_is("title", title, str)
    order = per_dimension.argsort(descending=True).tolist()
    width = max(6, 0.28 * len(order))  # inches: room for every number below its bar
    figure, axes = plt.subplots(figsize=(width, 2.4), layout="constrained")
    axes.bar(range(len(order)), per_dimension[order].tolist(), color="#0072B2")
    axes.set_xticks(range(len(order)), order)
    axes.set(title=title, xlabel="latent dimension, most used first", ylabel="KL, nats")
    return figure


def source(thing: Any) -> Any:
    """Return the source of a function or class, which a notebook shows in colours.

    Raises:
        TypeError: something else, or something of which there is no source.
    """
    from IPython.display import Code

    try:
        text = inspect.getsource(thing)
    except (TypeError, OSError) as error:
        raise TypeError(f"thing must be a function or class with a source: {error}") from error
    return Code(text, language="python")
