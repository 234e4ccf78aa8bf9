"""Which pixels are visible: a hole in the centre, quadrants, halves, random pixels, a brush.

A mask is a bool tensor, True where a pixel is visible: (28, 28) for all images of a batch, or
(B, 28, 28) with one for each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cvae_utils.checks import (
    FLOATS,
    IMAGE_SHAPE,
    check_at_least,
    check_choice,
    check_generator,
    check_is,
    check_number,
    check_unit_images,
    check_whole,
)

# (batch size, generator) -> one mask for each example, (B, 28, 28), on the generator's device
MaskSource = Callable[[int, torch.Generator], Tensor]

HEIGHT, WIDTH = IMAGE_SHAPE
SIDES = ("left", "right", "top", "bottom")
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
MASK_DTYPES = (torch.bool, *INTEGERS, *FLOATS)
HIDDEN_GREY = 0.5  # neither ink nor paper
FAR = 10_000  # pixels: a stroke from farther away would be rounded by more than a pixel's hundredth


def check_mask(name: str, mask: Tensor, batch: int | None = None) -> Tensor:
    """Return `mask` as bool; raise unless it is (28, 28) or (B, 28, 28) of zeros and ones.

    Raises:
        TypeError: not a tensor.
        ValueError: another shape, other values, or not one mask for each of `batch` images.
    """
    wanted = f"a tensor of zeros and ones of shape {IMAGE_SHAPE} or (B, {HEIGHT}, {WIDTH})"
    check_is(name, mask, Tensor, wanted)
    if mask.dtype not in MASK_DTYPES or mask.is_meta or mask.layout != torch.strided:
        came = f"a {mask.dtype} tensor on {mask.device}, {mask.layout}"
        raise ValueError(f"{name} must be {wanted}, got {came}")
    shape = tuple(mask.shape)
    if shape != IMAGE_SHAPE and (len(shape) != 3 or shape[1:] != IMAGE_SHAPE or shape[0] == 0):
        raise ValueError(f"{name} must be {wanted}, got one of shape {shape}")
    if len(shape) == 3 and batch is not None and shape[0] != batch:
        raise ValueError(f"{name} must be {wanted} with B = {batch}, got one of shape {shape}")
    if mask.dtype == torch.bool:
        return mask
    visible = mask == 1
    if not (visible | (mask == 0)).all():  # NaN fails too
        low, high = mask.aminmax()
        raise ValueError(f"{name} must be {wanted}, got values from {low:g} to {high:g}")
    return visible


def check_one_mask(name: str, mask: Tensor) -> Tensor:
    """Return `mask` as bool; raise unless it is one mask (28, 28) of zeros and ones.

    Raises:
        TypeError: not a tensor.
        ValueError: another shape, or other values.
    """
    visible = check_mask(name, mask)
    if visible.shape != IMAGE_SHAPE:
        raise ValueError(f"{name} must be of shape {IMAGE_SHAPE}, got {tuple(mask.shape)}")
    return visible


def hole(top: int, left: int, height: int, width: int) -> Tensor:
    """Return a mask (28, 28) that hides a rectangle, cut off at the image's edge.

    Args:
        top: the first hidden row; may lie outside the image.
        left: the first hidden column; may lie outside the image.
        height: hidden rows, 0 or more.
        width: hidden columns, 0 or more.
    """
    top = check_whole("top", top)
    left = check_whole("left", left)
    height = check_at_least("height", height, 0)
    width = check_at_least("width", width, 0)
    mask = torch.ones(IMAGE_SHAPE, dtype=torch.bool)
    mask[_within(HEIGHT, top, height), _within(WIDTH, left, width)] = False
    return mask


def _within(size: int, start: int, length: int) -> slice:
    """Return what of `length` pixels from `start` lies within an edge of `size` pixels."""
    return slice(min(max(0, start), size), min(max(0, start + length), size))


def centre(size: int = 10) -> Tensor:
    """Return a mask (28, 28) that hides the `size` x `size` pixels in the centre.

    For 10 these are rows and columns 9 to 18. An odd size lies half a pixel up and to the left.
    """
    size = check_at_least("size", size, 0)
    start = (HEIGHT - size) // 2
    return hole(start, start, size, size)


def quadrants(visible: int) -> Tensor:
    """Return the mask (28, 28) of Sohn et al. (2015) with 1, 2 or 3 quadrants visible.

    1: the lower left; 2: the left half; 3: all but the lower right.
    """
    check_choice("visible", visible, (1, 2, 3))
    mask = torch.zeros(IMAGE_SHAPE, dtype=torch.bool)
    mask[HEIGHT // 2 :, : WIDTH // 2] = True
    if visible == 2:
        mask[:, : WIDTH // 2] = True
    if visible == 3:
        mask[: HEIGHT // 2] = True
    return mask


def half(visible: str) -> Tensor:
    """Return a mask (28, 28) of which the `"left"`, `"right"`, `"top"` or `"bottom"` is visible."""
    check_choice("visible", visible, SIDES)
    first, across = visible in ("left", "top"), visible in ("left", "right")
    line = (torch.arange(HEIGHT) < HEIGHT // 2) == first
    grid = line.expand(IMAGE_SHAPE)
    return (grid if across else grid.T).contiguous()


def random_pixels(share: float, generator: torch.Generator | None = None) -> Tensor:
    """Return a mask (28, 28) in which each pixel is visible with probability `share`."""
    check_number("share", share, 0, 1)
    check_generator("generator", generator)
    return torch.rand(IMAGE_SHAPE, generator=generator) < share


def distance(stroke: Sequence[tuple[float, float]]) -> Tensor:
    """Return how far each pixel's centre is from a stroke, (28, 28) pixels.

    Args:
        stroke: (row, column) points in pixels, joined by straight lines; one point is a dab. They
            may lie outside the image, up to 10,000 pixels.

    Raises:
        ValueError: no points, points that are not pairs of numbers, or that are too far away.
    """
    wanted = f"one or more (row, column) points within {FAR:,} pixels"
    try:
        points = torch.as_tensor(stroke, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"stroke must be {wanted}, got {stroke!r}: {error}") from error
    pairs = points.ndim == 2 and points.shape[1] == 2 and len(points) > 0 and not points.is_meta
    if not pairs or not (points.abs() <= FAR).all():  # NaN is not near either
        raise ValueError(f"stroke must be {wanted}, got {stroke!r}")
    rows, columns = torch.arange(HEIGHT), torch.arange(WIDTH)
    pixels = torch.cartesian_prod(rows, columns).float()  # (784, 2)
    starts, ends = points, torch.cat([points[1:], points[-1:]])  # P segments, the last a point
    along = ends - starts  # (P, 2)
    # How far along each segment the pixel's nearest point lies: 0 at its start, 1 at its end.
    length = along.square().sum(1).clamp(min=1e-12)
    share = ((pixels[:, None] - starts) * along).sum(2) / length  # (784, P)
    nearest = starts + share.clamp(0, 1)[:, :, None] * along  # (784, P, 2)
    to_nearest: Tensor = (pixels[:, None] - nearest).norm(dim=2).amin(1)  # (784,)
    return to_nearest.view(IMAGE_SHAPE)


def brush(stroke: Sequence[tuple[float, float]], radius: float = 2.0) -> Tensor:
    """Return a mask (28, 28) that hides what a brush has gone over: a mask drawn by hand.

    Args:
        stroke: as in `distance`.
        radius: of the brush, in pixels; a pixel is hidden if its centre is no farther away.

    Raises:
        ValueError: as `distance`, or a radius that is negative or not finite.
    """
    check_number("radius", radius, 0)
    return distance(stroke) > radius


def always(mask: Tensor) -> MaskSource:
    """Return a source that gives every example the same mask (28, 28)."""
    mask = check_one_mask("mask", mask).clone()  # what the caller writes later is not meant

    at = functools.cache(mask.to)  # moved once: what comes from a CPU makes a GPU wait

    def source(batch: int, generator: torch.Generator) -> Tensor:
        return at(generator.device).repeat(batch, 1, 1)  # who gets it may write to it

    return source


def hide(x: Tensor, mask: Tensor, *, validate_args: bool = True) -> Tensor:
    """Return what is left of images when the mask lies over them.

    Args:
        x: (B, 28, 28) in [0, 1].
        mask: (28, 28) or (B, 28, 28), 1 where visible.
        validate_args: False takes the images' range on trust: reading it makes a GPU wait.

    Returns:
        (B, 2, 28, 28): the visible pixels, 0 where hidden, and the mask. Without the mask a
        hidden pixel could not be told from empty paper.

    Raises:
        ValueError: images or a mask of another shape, images outside [0, 1], a mask of other
            values than 0 and 1.
    """
    check_unit_images("x", x, values=validate_args)
    visible = check_mask("mask", mask, batch=len(x)).to(x.device).expand(x.shape)
    return torch.stack([torch.where(visible, x, 0.0), visible.to(x.dtype)], dim=1)


def grey_out(x: Tensor, mask: Tensor) -> Tensor:
    """Return images to look at, (B, 28, 28): hidden pixels are grey, for white would be paper.

    Args:
        x: (B, 28, 28) in [0, 1].
        mask: (28, 28) or (B, 28, 28), 1 where visible.

    Raises:
        ValueError: as `hide`.
    """
    visible = hide(x, mask)[:, 1].bool()
    return torch.where(visible, x, HIDDEN_GREY)


@functools.cache
def _quadrants_and_halves(device: torch.device) -> Tensor:
    """Return (7, 28, 28), made once for each device."""
    return torch.stack([*map(quadrants, (1, 2, 3)), *map(half, SIDES)]).to(device)


def mixed(batch: int, generator: torch.Generator) -> Tensor:
    """Draw a mask for each example, (batch, 28, 28), for a model that shall fill any hole.

    A third each: a rectangle of 4 to 20 pixels a side anywhere, cut off at the image's edge; a
    quadrant mask or a half; random pixels, of which any share is visible.
    """
    batch = check_at_least("batch", batch, 1)
    check_is("generator", generator, torch.Generator)
    device = generator.device

    def draw(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (batch, 1), generator=generator, device=device)

    lines = torch.arange(HEIGHT, device=device)  # rows and columns are as many
    inside = []
    for _ in range(2):
        start, length = draw(-3, HEIGHT - 3), draw(4, 21)
        inside.append((lines >= start) & (lines < start + length))  # (batch, 28)
    rectangles = ~(inside[0][:, :, None] & inside[1][:, None, :])
    fixed = _quadrants_and_halves(device)  # (7, 28, 28)
    parts = fixed[draw(0, len(fixed)).squeeze(1)]
    share = torch.rand(batch, 1, 1, generator=generator, device=device)
    scattered = torch.rand(batch, HEIGHT, WIDTH, generator=generator, device=device) < share
    kinds = torch.stack([rectangles, parts, scattered])  # (3, batch, 28, 28)
    return kinds[draw(0, 3).squeeze(1), torch.arange(batch, device=device)]


SOURCES: dict[str, MaskSource] = {  # what the command line calls them
    "centre": always(centre()),
    "quadrants-1": always(quadrants(1)),
    "quadrants-2": always(quadrants(2)),
    "quadrants-3": always(quadrants(3)),
    "mixed": mixed,
}
