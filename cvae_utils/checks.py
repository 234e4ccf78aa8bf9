"""Checks of what comes in through a public function.

Every error names the argument, what came and what was wanted.
"""

from __future__ import annotations

import torch
from torch import Tensor

IMAGE_SHAPE = (28, 28)
NUM_CLASSES = 10


def _describe(value: object) -> str:
    """What came, in words: type, and for a tensor its dtype and shape."""
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor of shape {tuple(value.shape)}"
    return f"{value!r} ({type(value).__name__})"


def check_unit_images(name: str, images: Tensor) -> None:
    """Raise unless `images` is a floating-point tensor (B >= 1, 28, 28) with values in [0, 1].

    Raises:
        TypeError: not a tensor.
        ValueError: another dtype, shape or range, NaN, or an empty batch.
    """
    wanted = f"a floating-point tensor of shape (B, {IMAGE_SHAPE[0]}, {IMAGE_SHAPE[1]}) in [0, 1]"
    if not isinstance(images, Tensor):
        raise TypeError(f"{name} must be {wanted}, got {_describe(images)}")
    if not images.is_floating_point():
        raise ValueError(
            f"{name} must be {wanted}, got {_describe(images)}; "
            "data.to_unit() and data.binarize() turn uint8 images into such a tensor"
        )
    _check_image_shape(name, images, wanted)
    low, high = images.aminmax()
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise ValueError(f"{name} must be {wanted}, got values from {low:.8g} to {high:.8g}")


def check_byte_images(name: str, images: Tensor) -> None:
    """Raise unless `images` is a uint8 tensor (B >= 1, 28, 28).

    Raises:
        TypeError: not a tensor.
        ValueError: another dtype or shape, or an empty batch.
    """
    wanted = f"a uint8 tensor of shape (B, {IMAGE_SHAPE[0]}, {IMAGE_SHAPE[1]})"
    if not isinstance(images, Tensor):
        raise TypeError(f"{name} must be {wanted}, got {_describe(images)}")
    if images.dtype != torch.uint8:
        raise ValueError(f"{name} must be {wanted}, got {_describe(images)}")
    _check_image_shape(name, images, wanted)


def _check_image_shape(name: str, images: Tensor, wanted: str) -> None:
    if images.ndim != 3 or tuple(images.shape[1:]) != IMAGE_SHAPE:
        raise ValueError(f"{name} must be {wanted}, got {_describe(images)}")
    if len(images) == 0:
        raise ValueError(f"{name} must be {wanted} with B >= 1, got an empty batch")


def check_labels(name: str, labels: Tensor, batch: int | None = None) -> None:
    """Raise unless `labels` is an int64 tensor (B >= 1,) with values 0 to 9.

    Args:
        name: the argument's name, for the message.
        labels: what came.
        batch: the batch size that the labels must match, if there is one.

    Raises:
        TypeError: not a tensor.
        ValueError: another dtype, shape or range, an empty batch, or not `batch` labels.
    """
    wanted = f"an int64 tensor of shape ({'B' if batch is None else batch},) with labels 0 to 9"
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name} must be {wanted}, got {_describe(labels)}")
    if labels.dtype != torch.int64 or labels.ndim != 1:
        raise ValueError(f"{name} must be {wanted}, got {_describe(labels)}")
    if len(labels) == 0:
        raise ValueError(f"{name} must be {wanted}, got an empty batch")
    if batch is not None and len(labels) != batch:
        raise ValueError(f"{name} must be {wanted}, got {_describe(labels)}")
    low, high = labels.aminmax()
    if not (low >= 0 and high < NUM_CLASSES):
        raise ValueError(f"{name} must be {wanted}, got labels from {low} to {high}")


def check_masked_images(name: str, masked: Tensor, batch: int | None = None) -> None:
    """Raise unless `masked` is (B >= 1, 2, 28, 28): visible pixels in [0, 1], and a 0-1 mask.

    Args:
        name: the argument's name, for the message.
        masked: what came; `masks.hide` makes it.
        batch: the batch size that it must match, if there is one.

    Raises:
        TypeError: not a tensor.
        ValueError: another dtype, shape or range, or a mask of other values than 0 and 1.
    """
    rows = "B" if batch is None else batch
    wanted = f"a floating-point tensor of shape ({rows}, 2, 28, 28), pixels and mask (masks.hide)"
    if not isinstance(masked, Tensor):
        raise TypeError(f"{name} must be {wanted}, got {_describe(masked)}")
    if not masked.is_floating_point() or masked.shape[1:] != (2, *IMAGE_SHAPE):
        raise ValueError(f"{name} must be {wanted}, got {_describe(masked)}")
    if len(masked) == 0 or (batch is not None and len(masked) != batch):
        raise ValueError(f"{name} must be {wanted}, got {_describe(masked)}")
    pixels, mask = masked.unbind(1)
    low, high = pixels.aminmax()
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise ValueError(f"{name} must be {wanted}, got pixels from {low:g} to {high:g}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(f"{name} must be {wanted}, got a mask of other values than 0 and 1")


def check_codes(name: str, z: Tensor, latent_dim: int, batch: int | None = None) -> None:
    """Raise unless `z` is a finite floating-point tensor (B >= 1, latent_dim).

    Raises:
        TypeError: not a tensor.
        ValueError: another dtype or shape, an empty batch, or values that are not finite.
    """
    rows = "B" if batch is None else batch
    wanted = f"a finite floating-point tensor of shape ({rows}, {latent_dim})"
    if not isinstance(z, Tensor):
        raise TypeError(f"{name} must be {wanted}, got {_describe(z)}")
    if not z.is_floating_point() or z.ndim != 2 or z.shape[1] != latent_dim:
        raise ValueError(f"{name} must be {wanted}, got {_describe(z)}")
    if len(z) == 0 or (batch is not None and len(z) != batch):
        raise ValueError(f"{name} must be {wanted}, got {_describe(z)}")
    if not z.isfinite().all():
        raise ValueError(f"{name} must be {wanted}, got values that are not finite")


def check_at_least(name: str, value: int, least: int) -> None:
    """Raise unless `value` is a whole number of at least `least`.

    Raises:
        TypeError: not an int (a bool is not one either).
        ValueError: too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number >= {least}, got {_describe(value)}")
    if value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raise unless `value` is a positive, finite number.

    Raises:
        TypeError: not a number.
        ValueError: zero, negative, infinite or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a positive number, got {_describe(value)}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive number, got {value}")


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise a ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
