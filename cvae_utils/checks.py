"""Checks of what comes in through a public function.

Every error names the argument, what came and what was wanted.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from numbers import Integral
from types import EllipsisType
from typing import SupportsIndex

import torch
from torch import Tensor

IMAGE_SHAPE = (28, 28)
NUM_CLASSES = 10  # where nobody says otherwise: those of MNIST, Fashion-MNIST and KMNIST
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST_SEED = 2**63 - 1  # torch has 64 bits, one of them for a sign


def _describe(value: object) -> str:
    """What came, in words: type, and for a tensor its dtype and shape."""
    if isinstance(value, Tensor):
        place = "" if value.device.type == "cpu" else f" on {value.device}"
        return f"a {value.dtype} tensor of shape {tuple(value.shape)}{place}"
    shown = repr(value)
    return f"{shown if len(shown) <= 200 else shown[:200] + ' ...'} ({type(value).__name__})"


def _check_tensor(name: str, value: object, wanted: str, *, values: bool = True) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be {wanted}, got {_describe(value)}")
    if value.layout != torch.strided:
        raise ValueError(f"{name} must be {wanted}, got one of layout {value.layout}")
    if values and value.is_meta:
        raise ValueError(f"{name} must be {wanted}, got {_describe(value)}, which holds no values")


def check_unit_images(name: str, images: Tensor, *, values: bool = True) -> None:
    """Raise unless `images` is a floating-point tensor (B >= 1, 28, 28) with values in [0, 1].

    Args:
        name: the argument's name, for the message.
        images: what came.
        values: False looks at dtype and shape alone: reading values makes a GPU wait.

    Raises:
        TypeError: not a tensor.
        ValueError: another dtype, shape or range, NaN, or an empty batch.
    """
    wanted = f"a floating-point tensor of shape (B, {IMAGE_SHAPE[0]}, {IMAGE_SHAPE[1]}) in [0, 1]"
    _check_tensor(name, images, wanted, values=values)
    if images.dtype not in FLOATS:
        raise ValueError(
            f"{name} must be {wanted}, got {_describe(images)}; "
            "data.to_unit() and data.binarize() turn uint8 images into such a tensor"
        )
    _check_image_shape(name, images, wanted)
    if not values:
        return
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
    _check_tensor(name, images, wanted)
    if images.dtype != torch.uint8:
        raise ValueError(f"{name} must be {wanted}, got {_describe(images)}")
    _check_image_shape(name, images, wanted)


def _check_image_shape(name: str, images: Tensor, wanted: str) -> None:
    if images.ndim != 3 or tuple(images.shape[1:]) != IMAGE_SHAPE:
        raise ValueError(f"{name} must be {wanted}, got {_describe(images)}")
    if len(images) == 0:
        raise ValueError(f"{name} must be {wanted} with B >= 1, got an empty batch")


def check_labels(
    name: str,
    labels: Tensor,
    batch: int | None = None,
    *,
    values: bool = True,
    num_classes: int = NUM_CLASSES,
) -> None:
    """Raise unless `labels` is an int64 tensor (B >= 1,) with values 0 to num_classes - 1.

    Args:
        name: the argument's name, for the message.
        labels: what came.
        batch: the batch size that the labels must match, if there is one.
        values: False looks at dtype and shape alone: reading values makes a GPU wait.
        num_classes: how many different labels there are.

    Raises:
        TypeError: not a tensor.
        ValueError: another dtype, shape or range, an empty batch, or not `batch` labels.
    """
    rows = "B" if batch is None else batch
    wanted = f"an int64 tensor of shape ({rows},) with labels 0 to {num_classes - 1}"
    _check_tensor(name, labels, wanted, values=values)
    if labels.dtype != torch.int64 or labels.ndim != 1:
        raise ValueError(f"{name} must be {wanted}, got {_describe(labels)}")
    if len(labels) == 0:
        raise ValueError(f"{name} must be {wanted}, got an empty batch")
    if batch is not None and len(labels) != batch:
        raise ValueError(f"{name} must be {wanted}, got {_describe(labels)}")
    if not values:
        return
    low, high = labels.aminmax()
    if not (low >= 0 and high < num_classes):
        raise ValueError(f"{name} must be {wanted}, got labels from {low} to {high}")


def check_texts(name: str, texts: Sequence[str], wanted: str = "a sequence of texts") -> None:
    """Raise a TypeError unless `texts` is a sequence of texts, and not a single one."""
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise TypeError(f"{name} must be {wanted}, got {_describe(texts)}")
    for text in texts:
        check_is(name, text, str, wanted)


def check_classes(name: str, classes: Sequence[str], num_classes: int = NUM_CLASSES) -> None:
    """Raise unless `classes` is a sequence of names, one for each of `num_classes` labels.

    Raises:
        TypeError: no sequence, or something in it that is no text.
        ValueError: more names or fewer, or the same one twice.
    """
    wanted = f"a sequence of {num_classes} different names"
    check_texts(name, classes, wanted)
    if len(classes) != num_classes or len(set(classes)) != num_classes:
        raise ValueError(f"{name} must be {wanted}, got {list(classes)}")


def check_masked_images(
    name: str, masked: Tensor, batch: int | None = None, *, values: bool = True
) -> None:
    """Raise unless `masked` is (B >= 1, 2, 28, 28): visible pixels in [0, 1], and a 0-1 mask.

    Args:
        name: the argument's name, for the message.
        masked: what came; `masks.hide` makes it.
        batch: the batch size that it must match, if there is one.
        values: False looks at dtype and shape alone: reading values makes a GPU wait.

    Raises:
        TypeError: not a tensor.
        ValueError: another dtype, shape or range, or a mask of other values than 0 and 1.
    """
    rows = "B" if batch is None else batch
    wanted = f"a floating-point tensor of shape ({rows}, 2, 28, 28), pixels and mask (masks.hide)"
    _check_tensor(name, masked, wanted, values=values)
    if masked.dtype not in FLOATS or masked.shape[1:] != (2, *IMAGE_SHAPE):
        raise ValueError(f"{name} must be {wanted}, got {_describe(masked)}")
    if len(masked) == 0 or (batch is not None and len(masked) != batch):
        raise ValueError(f"{name} must be {wanted}, got {_describe(masked)}")
    if not values:
        return
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
    check_floats(name, z, "B" if batch is None else batch, latent_dim, finite=True)


def _has_shape(tensor: Tensor, shape: tuple[int | str | EllipsisType, ...]) -> bool:
    """Say whether a tensor has the lengths that `check_floats` was told."""
    lengths: tuple[int, ...] = tensor.shape
    if lengths == shape:
        return True
    if shape[:1] == (...,):
        shape = shape[1:]
        lengths = lengths[max(0, len(lengths) - len(shape)) :]
    return len(lengths) == len(shape) and all(
        length >= size.isupper() if isinstance(size, str) else length == size
        for length, size in zip(lengths, shape, strict=True)
    )


def check_floats(
    name: str, tensor: Tensor, *shape: int | str | EllipsisType, finite: bool = False
) -> None:
    """Raise unless `tensor` is a floating-point tensor of a shape.

    Args:
        name: the argument's name, for the message.
        tensor: what came.
        shape: a number for each length that is fixed, a capital letter for each that is 1 or more,
            a word in small letters for each that may be 0; `...` in front is any further ones.
        finite: whether the values are looked at, which makes a GPU wait.

    Raises:
        TypeError: not a tensor.
        ValueError: another dtype or shape, or values that are not finite.
    """
    # A training step comes here a dozen times: words are made for those who need them.
    good = isinstance(tensor, Tensor) and tensor.layout == torch.strided and not finite
    if good and tensor.dtype in FLOATS and _has_shape(tensor, shape):
        return
    sizes = ", ".join("..." if size is ... else str(size) for size in shape)
    sizes += "," if len(shape) == 1 else ""
    wanted = f"a {'finite ' if finite else ''}floating-point tensor of shape ({sizes})"
    _check_tensor(name, tensor, wanted, values=finite)
    if tensor.dtype not in FLOATS or not _has_shape(tensor, shape):
        raise ValueError(f"{name} must be {wanted}, got {_describe(tensor)}")
    if finite and not tensor.isfinite().all():
        raise ValueError(f"{name} must be {wanted}, got values that are not finite")


def _same_place(one: torch.device, other: torch.device) -> bool:
    """Whether two devices are the same, where a GPU without a number is any of them."""
    numbers = {one.index, other.index} - {None}
    return one.type == other.type and len(numbers) < 2


def check_beside(name: str, tensor: Tensor, other: Tensor, what: str = "the model") -> None:
    """Raise unless `tensor` is on the device of `other`, and as precise if it is floating point.

    Args:
        name: the argument's name, for the message.
        tensor: what came.
        other: a weight of the model, say.
        what: `other` in words.

    Raises:
        ValueError: another device, or another floating-point dtype.
    """
    if not _same_place(tensor.device, other.device):
        raise ValueError(
            f"{name} must be on {other.device}, where {what} is, got one on {tensor.device}"
        )
    if not tensor.is_floating_point() or tensor.dtype == other.dtype:
        return
    kind = other.device.type
    # Within autocast torch converts what meets.
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        raise ValueError(f"{name} must be {other.dtype}, as {what} is, got {_describe(tensor)}")


def check_generator(
    name: str, generator: torch.Generator | None, device: torch.device | None = None
) -> None:
    """Raise unless `generator` is a source of random numbers on `device`, the CPU if None.

    None is one too: torch's own.

    Raises:
        TypeError: something else.
        ValueError: a generator on another device.
    """
    if generator is None:
        return
    where = device or torch.device("cpu")
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"{name} must be a torch.Generator on {where}, got {_describe(generator)}")
    if not _same_place(generator.device, where):
        raise ValueError(f"{name} must be a torch.Generator on {where}, got {generator.device}")


def check_whole(name: str, value: SupportsIndex, limits: str = "") -> int:
    """Return `value` as a plain int, which torch and JSON want; numpy's whole numbers become one.

    Args:
        name: the argument's name, for the message.
        value: what came.
        limits: what is wanted of it beside that, for the message.

    Raises:
        TypeError: not a whole number (a bool is not one either).
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number{limits}, got {_describe(value)}")
    return operator.index(value)


def check_at_least(name: str, value: SupportsIndex, least: int, most: int | None = None) -> int:
    """Return `value` as a plain int; raise unless it is from `least` to `most`, if there is a most.

    Raises:
        TypeError: not a whole number (a bool is not one either).
        ValueError: too small, or too large.
    """
    limits = f" >= {least}" if most is None else f" from {least} to {most}"
    number = check_whole(name, value, limits)
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} must be a whole number{limits}, got {number}")
    return number


def check_seed(name: str, seed: SupportsIndex) -> int:
    """Return `seed` as a plain int; raise unless every source of random numbers takes it.

    Raises:
        TypeError: not a whole number.
        ValueError: negative, or more than 63 bits.
    """
    return check_at_least(name, seed, 0, LARGEST_SEED)


def check_all_at_least(
    name: str, values: Sequence[SupportsIndex], least: int, most: int | None = None
) -> list[int]:
    """Return `values` as plain ints; raise unless they are one or more, from `least` to `most`.

    Raises:
        TypeError: no sequence, or one of other things than whole numbers.
        ValueError: none, or one that is too small or too large.
    """
    wanted = "one or more whole numbers"
    if not isinstance(values, Sequence):
        raise TypeError(f"{name} must be {wanted}, got {_describe(values)}")
    if len(values) == 0:
        raise ValueError(f"{name} must be {wanted}, got none")
    return [check_at_least(name, value, least, most) for value in values]


def check_number(
    name: str, value: float, least: float = -float("inf"), most: float = float("inf")
) -> None:
    """Raise unless `value` is a finite number from `least` to `most`.

    Raises:
        TypeError: not a number.
        ValueError: out of range, infinite or NaN.
    """
    wanted = f"a finite number from {least:g} to {most:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {wanted}, got {_describe(value)}")
    largest = sys.float_info.max
    if not max(least, -largest) <= value <= min(most, largest):
        raise ValueError(f"{name} must be {wanted}, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raise unless `value` is a positive, finite number.

    Raises:
        TypeError: not a number.
        ValueError: zero, negative, infinite or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a positive number, got {_describe(value)}")
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name} must be a positive number, got {value}")


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise a ValueError unless `value` is one of `choices`: 1 is neither 1.0 nor True."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_is(name: str, value: object, kind: type | tuple[type, ...], wanted: str = "") -> None:
    """Raise a TypeError unless `value` is of that kind, in other words if they say it better."""
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = wanted or " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} must be {wanted}, got {_describe(value)}")


def check_function(name: str, value: Callable[..., object], wanted: str) -> None:
    """Raise a TypeError unless `value` can be called; `wanted` says with what."""
    if not callable(value):
        raise TypeError(f"{name} must be a function of {wanted}, got {_describe(value)}")
