"""Masks: which pixels they hide, counted out by hand, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cvae_utils import masks


def hidden(mask: Tensor) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in (~mask).nonzero()}


def box(rows: range, columns: range) -> set[tuple[int, int]]:
    return {(row, column) for row in rows for column in columns}


def test_the_centre_is_rows_and_columns_9_to_18() -> None:
    assert hidden(masks.centre(10)) == box(range(9, 19), range(9, 19))
    assert hidden(masks.centre(28)) == box(range(28), range(28))
    assert hidden(masks.centre(3)) == box(range(12, 15), range(12, 15))
    assert masks.centre(0).all()


@pytest.mark.parametrize("size", range(0, 29, 2))
def test_an_even_hole_is_in_the_very_centre(size: int) -> None:
    mask = masks.centre(size)
    assert torch.equal(mask, mask.flip(0))
    assert torch.equal(mask, mask.flip(1))
    assert int((~mask).sum()) == size * size


def test_a_hole_is_cut_off_at_the_edge() -> None:
    assert hidden(masks.hole(26, -3, 5, 4)) == box(range(26, 28), range(1))
    assert masks.hole(40, 0, 5, 5).all()
    assert masks.hole(3, 3, 0, 5).all()


def test_the_quadrants_are_those_of_the_paper() -> None:
    lower_right = box(range(14, 28), range(14, 28))
    upper_right = box(range(14), range(14, 28))
    upper_left = box(range(14), range(14))
    assert hidden(masks.quadrants(3)) == lower_right
    assert hidden(masks.quadrants(2)) == lower_right | upper_right
    assert hidden(masks.quadrants(1)) == lower_right | upper_right | upper_left


@pytest.mark.parametrize(
    ("visible", "wanted"),
    [
        ("left", box(range(28), range(14, 28))),
        ("right", box(range(28), range(14))),
        ("top", box(range(14, 28), range(28))),
        ("bottom", box(range(14), range(28))),
    ],
)
def test_half_of_the_image(visible: str, wanted: set[tuple[int, int]]) -> None:
    assert hidden(masks.half(visible)) == wanted


def test_random_pixels_are_visible_with_the_share_as_probability() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.stack([masks.random_pixels(0.3, generator) for _ in range(100)]).float()
    assert shares.mean().item() == pytest.approx(0.3, abs=0.01)  # of 78,400 pixels: 0.0016
    assert shares.mean(0).std().item() < 0.06  # no place is preferred: 0.046 expected
    assert not masks.random_pixels(0.0).any()
    assert masks.random_pixels(1.0).all()


def test_a_brush_hides_what_is_no_farther_than_its_radius() -> None:
    """Against the definition, pixel by pixel, on a stroke of which each part is simple."""
    stroke = [(5.0, 4.0), (5.0, 20.0), (15.0, 20.0)]
    wanted = set()
    for row in range(28):
        for column in range(28):
            to_first = math.dist((row, column), (5, min(max(column, 4), 20)))
            to_second = math.dist((row, column), (min(max(row, 5), 15), 20))
            if min(to_first, to_second) <= 2.5:
                wanted.add((row, column))
    assert hidden(masks.brush(stroke, radius=2.5)) == wanted


def test_a_slanted_brush_stroke_is_a_band() -> None:
    mask = masks.brush([(-5.0, -5.0), (40.0, 40.0)], radius=1.0)
    # The distance of (row, column) from the diagonal is |row - column| / sqrt(2).
    assert hidden(mask) == {(r, c) for r in range(28) for c in range(28) if abs(r - c) <= 1}


def test_a_brush_may_dab_or_miss() -> None:
    assert hidden(masks.brush([(3, 7)], radius=0)) == {(3, 7)}
    assert hidden(masks.brush([(100, 100), (100, 100)], radius=5)) == set()


def test_always_gives_each_example_the_same_mask() -> None:
    source = masks.always(masks.centre(4))
    drawn = source(3, torch.Generator())
    assert drawn.shape == (3, 28, 28)
    assert all(torch.equal(mask, masks.centre(4)) for mask in drawn)


def test_what_is_written_to_a_mask_changes_no_source() -> None:
    mine, generator = masks.centre(4), torch.Generator()
    source = masks.always(mine)
    mine.fill_(True)
    source(2, generator).fill_(True)
    assert torch.equal(source(1, generator)[0], masks.centre(4))


def test_hide_keeps_the_visible_pixels_bit_for_bit_and_nothing_else() -> None:
    x = torch.rand(5, 28, 28, generator=torch.Generator().manual_seed(1))
    mask = masks.quadrants(2)
    pixels, channel = masks.hide(x, mask).unbind(1)
    assert torch.equal(pixels[:, mask], x[:, mask])
    assert not pixels[:, ~mask].any()
    assert torch.equal(channel, mask.float().expand(5, 28, 28))
    # what is hidden leaves no trace
    changed = torch.where(mask, x, 1 - x)
    assert torch.equal(masks.hide(changed, mask), masks.hide(x, mask))


def test_to_look_at_hidden_pixels_are_grey_and_all_others_as_they_are() -> None:
    x = torch.rand(2, 28, 28, generator=torch.Generator().manual_seed(0))
    shown = masks.grey_out(x, masks.centre())
    visible = masks.centre()
    assert torch.equal(shown[:, visible], x[:, visible])
    assert shown[:, ~visible].unique().tolist() == [0.5]


def test_each_image_can_have_a_mask_of_its_own() -> None:
    x = torch.ones(2, 28, 28)
    both = torch.stack([masks.half("left"), masks.half("top")])
    assert torch.equal(masks.hide(x, both)[:, 0], both.float())


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_zeros_and_ones_of_any_dtype_are_a_mask(dtype: torch.dtype) -> None:
    mask = masks.check_mask("mask", masks.centre(6).to(dtype))
    assert mask.dtype == torch.bool
    assert torch.equal(mask, masks.centre(6))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(27, 28), r"mask must be .* got one of shape \(27, 28\)"),
        (torch.ones(0, 28, 28), r"got one of shape \(0, 28, 28\)"),
        (torch.ones(3, 28, 28), r"with B = 2, got one of shape \(3, 28, 28\)"),
        (torch.full((28, 28), 0.5), "got values from 0\\.5 to 0\\.5"),
        (torch.full((28, 28), float("nan")), "got values from nan"),
        (torch.full((28, 28), 2), "got values from 2 to 2"),
    ],
)
def test_what_is_no_mask_is_refused(mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        masks.hide(torch.zeros(2, 28, 28), mask)


def test_what_is_taken_on_trust_is_the_range_alone() -> None:
    bright = torch.full((1, 28, 28), 2.0)
    assert masks.hide(bright, masks.centre(), validate_args=False)[0, 0, 0, 0] == 2
    with pytest.raises(ValueError, match=r"^x must be .* in \[0, 1\], got values from 2 to 2"):
        masks.hide(bright, masks.centre())
    with pytest.raises(ValueError, match=r"^x must be .* of shape \(B, 28, 28\)"):
        masks.hide(bright[0], masks.centre(), validate_args=False)


def test_a_list_is_no_mask() -> None:
    with pytest.raises(TypeError, match="mask must be a tensor of zeros and ones"):
        masks.check_mask("mask", [[0, 1]])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stroke", "radius", "message"),
    [
        ([], 2.0, r"stroke must be .*points .*, got \[\]"),
        ([(1, 2, 3)], 2.0, "stroke must be"),
        ([(1, math.inf)], 2.0, "stroke must be"),
        ([(1, 2)], -1.0, "radius must be .* got -1"),
        ([(1, 2)], math.nan, "radius must be .* got nan"),
    ],
)
def test_an_impossible_stroke_is_named(
    stroke: list[tuple[float, float]], radius: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        masks.brush(stroke, radius)


def test_impossible_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="visible must be one of 1, 2, 3, got 4"):
        masks.quadrants(4)
    with pytest.raises(ValueError, match=r"visible must be one of 'left', .* got 'up'"):
        masks.half("up")
    with pytest.raises(ValueError, match=r"share must be .* from 0 to 1, got 1.5"):
        masks.random_pixels(1.5)
    with pytest.raises(ValueError, match=r"size must be .*>= 0, got -1"):
        masks.centre(-1)


def test_mixed_masks_are_of_all_kinds_and_hide_something_almost_always() -> None:
    drawn = masks.mixed(3000, torch.Generator().manual_seed(0))
    assert drawn.shape == (3000, 28, 28)
    assert drawn.dtype == torch.bool
    fixed = {
        mask.numpy().tobytes()
        for mask in [*map(masks.quadrants, (1, 2, 3)), *map(masks.half, masks.SIDES)]
    }
    seen = [mask.numpy().tobytes() for mask in drawn]
    share = sum(mask in fixed for mask in seen) / 3000
    assert share == pytest.approx(1 / 3, abs=0.03)
    assert fixed <= set(seen)
    # a rectangle: what is hidden is all there is between its first and last rows and columns
    boxes = 0
    for mask in drawn:
        rows, columns = (~mask).any(1).nonzero(), (~mask).any(0).nonzero()
        if len(rows):
            height, width = int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
            boxes += int((~mask).sum()) == height * width < 784
    assert boxes > 1000  # the third that are rectangles, and the quadrants and halves that are
    assert (~drawn).flatten(1).any(1).float().mean() > 0.99


def test_mixed_rectangles_have_sides_from_4_to_20_pixels_and_lie_anywhere() -> None:
    hidden = ~masks.mixed(10_000, torch.Generator().manual_seed(0))
    seen: list[set[int]] = [set(), set(), set(), set()]  # tops, heights, lefts, widths
    for rows, columns, area in zip(hidden.any(2), hidden.any(1), hidden.sum((1, 2)), strict=True):
        height, width = int(rows.sum()), int(columns.sum())
        whole = not (rows[0] or rows[-1] or columns[0] or columns[-1])  # not cut off at an edge
        if whole and area == height * width > 1:  # a pixel alone is of those hidden at random
            corner = (int(rows.int().argmax()), int(columns.int().argmax()))
            for numbers, number in zip(seen, (corner[0], height, corner[1], width), strict=True):
                numbers.add(number)
    for starts, lengths in (seen[:2], seen[2:]):
        assert lengths == set(range(4, 21))
        assert starts == set(range(1, 24))


def test_the_named_sources_are_what_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(masks.SOURCES["centre"](1, generator)[0], masks.centre(10))
    for visible in (1, 2, 3):
        drawn = masks.SOURCES[f"quadrants-{visible}"](2, generator)
        assert torch.equal(drawn[1], masks.quadrants(visible))
