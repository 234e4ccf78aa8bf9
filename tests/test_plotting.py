"""Pictures, looked at through what matplotlib was told to draw."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from torch import Tensor

from cvae_utils import plotting
from cvae_utils.training import History


def greys(*values: float) -> Tensor:
    """One evenly grey image per value."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None].expand(-1, 28, 28).contiguous()


def only_axes(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def drawn(figure: Figure) -> np.ndarray:
    """The picture as it was handed to imshow."""
    (image,) = only_axes(figure).images
    return np.asarray(image.get_array())


def row_texts(axes: Axes) -> list[str]:
    return [tick.get_text() for tick in axes.get_yticklabels()]


# ---------------------------------------------------------------- tile


def test_tile_fills_in_reading_order_with_dark_ink() -> None:
    ink = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    picture = plotting.tile(greys(*ink), columns=3, gap=2)
    assert picture.shape == (2 * 28 + 2, 3 * 28 + 2 * 2)
    for index, value in enumerate(ink):
        top, left = index // 3 * 30, index % 3 * 30
        block = picture[top : top + 28, left : left + 28]
        torch.testing.assert_close(block, torch.full((28, 28), 1 - value))


def test_tile_neither_turns_nor_mirrors_an_image() -> None:
    image = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plotting.tile(image, 1), 1 - image[0])
    pair = plotting.tile(image.repeat(2, 1, 1), 1, gap=1)
    torch.testing.assert_close(pair[29:], 1 - image[0])


def test_gaps_and_the_rest_of_a_short_row_are_paper() -> None:
    picture = plotting.tile(torch.ones(4, 28, 28), columns=3, gap=5)
    assert picture.shape == (2 * 28 + 5, 3 * 28 + 2 * 5)
    ink = torch.zeros_like(picture, dtype=torch.bool)
    for top, left in [(0, 0), (0, 33), (0, 66), (33, 0)]:
        ink[top : top + 28, left : left + 28] = True
    assert (picture[ink] == 0).all()
    assert (picture[~ink] == 1).all()


def test_no_gap_and_fewer_images_than_columns() -> None:
    assert plotting.tile(greys(0, 1), columns=2, gap=0).shape == (28, 56)
    assert plotting.tile(greys(1), columns=3, gap=2).shape == (28, 88)


def test_tile_takes_double_and_tensors_with_gradients() -> None:
    images = greys(0.25).double().requires_grad_()
    picture = plotting.tile(images, 1)
    assert picture.dtype == torch.float32
    assert not picture.requires_grad
    assert picture.unique().tolist() == [0.75]


@pytest.mark.parametrize(
    ("images", "columns", "gap", "message"),
    [
        (torch.full((1, 28, 28), 2.0), 1, 2, r"images must be .*\[0, 1\], got values from 2 to 2"),
        (torch.zeros(28, 28), 1, 2, r"images must be .*\(28, 28\)"),
        (torch.zeros(1, 28, 28), 0, 2, r"columns must be .*>= 1, got 0"),
        (torch.zeros(1, 28, 28), 1, -1, r"gap must be .*>= 0, got -1"),
    ],
)
def test_tile_refuses_by_name(images: Tensor, columns: int, gap: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plotting.tile(images, columns, gap)


# ---------------------------------------------------------------- grids


def test_a_grid_shows_its_images_in_a_fixed_scale_under_a_title() -> None:
    figure = plotting.digit_grid(greys(0.4, 0.5, 0.6), 2, title="Three")
    picture = drawn(figure)
    assert picture[14, 14] == pytest.approx(0.6)
    assert picture[14, 30 + 14] == pytest.approx(0.5)
    assert picture[30 + 14, 14] == pytest.approx(0.4)
    # Without it, matplotlib would stretch 0.4 to 0.6 over all of black and white.
    assert only_axes(figure).images[0].get_clim() == (0, 1)
    assert only_axes(figure).images[0].get_cmap()(1.0)[:3] == (1, 1, 1)  # 1 is white paper
    assert only_axes(figure).get_title() == "Three"


def test_row_labels_stand_beside_their_rows() -> None:
    # The rows are told apart by their ink; the middle of each must be beside its own text.
    figure = plotting.digit_grid(greys(0.1, 0.1, 0.5, 0.5, 0.9), 2, ["pale", "grey", "dark"])
    axes = only_axes(figure)
    picture = drawn(figure)
    assert row_texts(axes) == ["pale", "grey", "dark"]
    found = [1 - picture[round(place), 14] for place in axes.get_yticks()]
    assert found == pytest.approx([0.1, 0.5, 0.9])
    assert all(place % 30 == pytest.approx(14, abs=1) for place in axes.get_yticks())


def test_a_grid_without_row_labels_has_no_text_beside_it() -> None:
    assert row_texts(only_axes(plotting.digit_grid(greys(0, 1), 1))) == []


@pytest.mark.parametrize("labels", [["one"], ["one", "two", "three"]])
def test_row_labels_of_another_number_are_refused(labels: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"row_labels must .* 2 rows, got {len(labels)}"):
        plotting.digit_grid(greys(0, 0.5, 1), 2, labels)


def test_compared_rows_keep_their_order_and_align_in_columns() -> None:
    rows = {"real": greys(0.0, 0.1, 0.2), "again": greys(0.3, 0.4, 0.5), "new": greys(0.6, 0.7, 1)}
    figure = plotting.compare_rows(rows, "Title")
    picture = drawn(figure)
    assert picture.shape == (3 * 30 - 2, 3 * 30 - 2)
    assert row_texts(only_axes(figure)) == ["real", "again", "new"]
    assert only_axes(figure).get_title() == "Title"
    for row, images in enumerate(rows.values()):
        for column, image in enumerate(images):
            shown = picture[row * 30 + 5, column * 30 + 5]
            assert shown == pytest.approx(1 - image[5, 5].item())


def test_column_labels_stand_above_their_columns() -> None:
    images = greys(0.1, 0.5, 0.9, 0.1, 0.5, 0.9)
    halves = {"upper": images[:3], "lower": images[3:]}
    names = ["pale", "", "$1 black"]  # a column may go without, and a dollar is no formula
    for figure in (
        plotting.digit_grid(images, 3, column_labels=names),
        plotting.compare_rows(halves, column_labels=names),
    ):
        axes = only_axes(figure)
        figure.canvas.draw()
        assert [text.get_text() for text in axes.get_xticklabels()] == names
        found = [1 - drawn(figure)[14, round(place)] for place in axes.get_xticks()]
        assert found == pytest.approx([0.1, 0.5, 0.9])
        lowest = min(text.get_window_extent().y0 for text in axes.get_xticklabels())
        assert lowest >= axes.get_window_extent().y1


def test_a_grid_without_column_labels_has_no_text_above_it() -> None:
    assert only_axes(plotting.digit_grid(greys(0, 1), 1)).get_xticklabels() == []


@pytest.mark.parametrize("labels", [["one"], ["one", "two", "three"]])
def test_column_labels_of_another_number_are_refused(labels: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"column_labels .* 2 columns, got {len(labels)}"):
        plotting.digit_grid(greys(0, 0.5, 1), 2, column_labels=labels)
    with pytest.raises(ValueError, match=rf"column_labels .* 2 columns, got {len(labels)}"):
        plotting.compare_rows({"row": greys(0, 1)}, column_labels=labels)


def test_uneven_rows_and_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows must .* one length, got .*'a': 2, 'b': 1"):
        plotting.compare_rows({"a": greys(0, 1), "b": greys(1)})
    with pytest.raises(ValueError, match="rows must be one or more"):
        plotting.compare_rows({})


# ---------------------------------------------------------------- learning curves

ROWS = [
    {"loss": 210.5, "kl": 3.25, "seconds": 1.0},
    {"loss": 150.25, "kl": 9.0, "seconds": 2.0},
    {"loss": 120.0, "kl": 12.5, "seconds": 3.0},
]


def test_learning_curves_draw_just_the_numbers_of_the_history() -> None:
    figure = plotting.learning_curves(History(ROWS, planned=5))
    assert len(figure.axes) == 2  # seconds are no term
    for axes, term in zip(figure.axes, ["loss", "kl"], strict=True):
        (line,) = axes.lines
        assert list(np.asarray(line.get_xdata())) == [1, 2, 3]
        assert list(np.asarray(line.get_ydata())) == [row[term] for row in ROWS]
        assert axes.get_title() == {"loss": "training loss", "kl": "training KL"}[term]
        assert axes.get_xlabel() == "epoch"
        assert axes.get_xlim()[1] >= 5  # there is room for what is planned
        assert axes.get_xlim()[0] <= 1


def test_learning_curves_name_the_unit() -> None:
    row = {"loss": 2.1, "generator": 0.7, "discriminator": 1.4, "real": 0.5, "fake": 0.5}
    figure = plotting.learning_curves(History([row], planned=1))
    units = [panel.get_ylabel() for panel in figure.axes]
    assert units == ["nats per image"] * 3 + ["share"] * 2


def test_a_term_of_ones_own_gets_no_unit() -> None:
    figure = plotting.learning_curves(History([{"loss": 2.1, "accuracy": 0.9}], planned=1))
    assert [panel.get_ylabel() for panel in figure.axes] == ["nats per image", ""]


@pytest.mark.parametrize("given", [list, np.asarray], ids=["list", "array"])
def test_learning_curves_draw_into_given_axes(given: Callable[[Any], Any]) -> None:
    mine, panels = plt.subplots(1, 2)
    assert plotting.learning_curves(History(ROWS[:1], planned=1), given(panels)) is mine
    assert [list(np.asarray(panel.lines[0].get_ydata())) for panel in panels] == [[210.5], [3.25]]


def test_learning_curves_draw_into_a_part_of_a_figure() -> None:
    mine = plt.figure()
    part = mine.add_subfigure(mine.add_gridspec(2, 1)[1])
    panels = part.subplots(1, 2)
    assert plotting.learning_curves(History(ROWS, planned=3), panels) is mine


def test_live_curves_are_drawn_anew_every_epoch_and_leave_no_figure_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[list[list[float]]] = []

    class Handle:
        """Where a notebook shows something that changes."""

        def display(self, *_: object, **__: object) -> None:
            shown.append([])

        def update(self, figure: Figure) -> None:
            shown.append([list(np.asarray(axes.lines[0].get_ydata())) for axes in figure.axes])

    monkeypatch.setattr("IPython.display.DisplayHandle", Handle)
    live = plotting.LiveCurves()
    live.on_start(2, 3)
    for count in (1, 2):
        live.on_epoch(History(ROWS[:count], planned=2))
    live.on_end(History(ROWS[:2], planned=2))
    curves = [[row[term] for row in ROWS[:2]] for term in ("loss", "kl")]
    assert shown == [[], [curve[:1] for curve in curves], curves]
    assert plt.get_fignums() == []


# ---------------------------------------------------------------- latent maps


def cloud(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 10
    middle = torch.stack([labels * 10.0, labels * -5.0], dim=1)
    return middle + torch.randn(count, 2, generator=generator), labels


def test_each_numeral_stands_at_the_median_of_its_codes() -> None:
    codes, labels = cloud(210)  # 21 of each: the median is a code's own coordinate
    codes[labels == 3] += torch.tensor([0.0, 1.0])
    codes[3] = torch.tensor([120.0, 120.0])  # pulls the mean of the threes far away, not the median
    axes = only_axes(plotting.latent_scatter(codes, labels, "Map"))
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert set(places) == set("0123456789")
    for digit in range(10):
        middle = np.median(codes[labels == digit].numpy(), axis=0)
        assert places[str(digit)] == pytest.approx(tuple(middle), rel=1e-5)
    assert axes.get_title() == "Map"


def test_every_code_is_a_point_in_the_colour_of_its_label() -> None:
    codes, labels = cloud(100)
    axes = only_axes(plotting.latent_scatter(codes, labels))
    layers = [layer for layer in axes.collections if isinstance(layer, PathCollection)]
    assert len(layers) == 10
    for digit, layer in enumerate(layers):
        points = np.asarray(layer.get_offsets())
        np.testing.assert_allclose(points, codes[labels == digit].numpy(), rtol=1e-6)
    colours = [tuple(np.asarray(layer.get_facecolor())[0][:3]) for layer in layers]
    assert len(set(colours)) == 10
    # One unit is as long to the right as upwards, or round clouds would look stretched.
    assert axes.get_aspect() == 1


def outlines(figure: Figure) -> list[bytes]:
    """The shape of each label's points."""
    layers = [layer for layer in only_axes(figure).collections if isinstance(layer, PathCollection)]
    return [np.asarray(layer.get_paths()[0].vertices).tobytes() for layer in layers]


def test_labels_are_told_apart_without_their_colours() -> None:
    codes, labels = cloud(20)
    numerals = outlines(plotting.latent_scatter(codes, labels))
    # A point is its own numeral, also where another class has no codes or another place.
    assert outlines(plotting.latent_scatter(codes[7:8], labels[7:8])) == numerals[7:8]
    words = [f"{name}{name}" for name in "0123456789"]
    marks = outlines(plotting.latent_scatter(codes, labels, classes=words))
    assert len({*numerals, *marks}) == 20


@pytest.mark.parametrize("name", ["$", "^", "_", "{", "\\", "%", "#", "&", " ", "é", "あ", "²"])
def test_a_name_that_is_no_formula_is_no_mark(name: str) -> None:
    codes, of = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    figure = plotting.latent_scatter(codes, of, classes=[name, "longer"])
    plain = plotting.latent_scatter(codes, of, classes=["another", "longer"])
    assert outlines(figure) == outlines(plain)


def test_labels_without_codes_get_no_numeral() -> None:
    codes, _ = cloud(4)
    axes = only_axes(plotting.latent_scatter(codes, torch.tensor([2, 2, 9, 9])))
    assert [text.get_text() for text in axes.texts] == ["2", "9"]


def test_codes_that_are_not_two_dimensional_and_foreign_labels_are_refused() -> None:
    codes, labels = cloud(20)
    with pytest.raises(ValueError, match=r"codes must be .* shape \(B, 2\), got .*\(20, 3\)"):
        plotting.latent_scatter(torch.zeros(20, 3), labels)
    with pytest.raises(ValueError, match=r"labels must be .*\(20,\).*, got .*\(19,\)"):
        plotting.latent_scatter(codes, labels[:19])


def forty_two() -> int:
    return 41 + 1


def test_source_is_the_code_of_the_function_in_colours() -> None:
    shown = plotting.source(forty_two)
    assert shown.data == "def forty_two() -> int:\n    return 41 + 1\n"
    assert '<span class="k">return</span>' in shown._repr_html_()  # read as Python, not as text


def test_kl_bars_are_sorted_and_named_by_their_dimension() -> None:
    figure = plotting.kl_bars(torch.tensor([0.5, 2.0, 0.0]), "three")
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [2.0, 0.5, 0.0]  # type: ignore[attr-defined]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "0", "2"]
    assert axes.get_title() == "three"


@pytest.mark.parametrize("wrong", [torch.ones(2, 3), torch.tensor([1.0, float("nan")])])
def test_kl_bars_refuse_what_is_no_row_of_numbers(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"per_dimension must be a finite .*\(D,\)"):
        plotting.kl_bars(wrong)


def test_numerals_do_not_hide_one_another() -> None:
    codes = torch.tensor([[0.0, 0.0], [10.0, 10.0], [5.0, 5.0], [5.1, 5.1], [5.2, 4.9]])
    figure = plotting.latent_scatter(codes, torch.arange(5), names=("across", "up"))
    (axes,) = figure.axes
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places["0"] == pytest.approx((0, 0))  # alone, at its own median
    assert places["2"] == pytest.approx((5, 5))
    crowd = [places[digit][0] for digit in "234"]
    assert min(b - a for a, b in pairwise(crowd)) > 0.5
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("across", "up")


def test_a_name_is_shown_as_it_is_whatever_signs_are_in_it() -> None:
    axes = only_axes(plotting.digit_grid(torch.zeros(2, 28, 28), 1, ["from $5", "a_$b$"]))
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels] == ["from $5", "a_$b$"]
    assert not any(label.get_parse_math() for label in labels)  # else b would be a formula
    codes, of = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    figure = plotting.latent_scatter(codes, of, classes=["$5_to_$10", "b"])
    assert [text.get_text() for text in only_axes(figure).texts] == ["$5_to_$10", "b"]
    figure.draw_without_rendering()  # which is where a formula would be read
