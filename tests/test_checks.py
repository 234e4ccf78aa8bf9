"""The checks at every public door: what passes, what does not, and what the message says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cvae_utils import checks

IMAGES = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0))
NAN_IMAGE = IMAGES.index_fill(0, torch.tensor([1]), math.nan)
BYTES = torch.zeros(3, 28, 28, dtype=torch.uint8)
LABELS = torch.tensor([0, 9, 4])
CODES = torch.zeros(3, 4)

GOOD: list[tuple[Callable[..., object], tuple[Any, ...]]] = [
    (checks.check_unit_images, (IMAGES,)),
    (checks.check_unit_images, (IMAGES.double(),)),
    (checks.check_unit_images, (IMAGES.half(),)),
    (checks.check_unit_images, (torch.zeros(1, 28, 28),)),
    (checks.check_unit_images, (torch.ones(1, 28, 28, requires_grad=True),)),
    (checks.check_byte_images, (BYTES,)),
    (checks.check_byte_images, (BYTES + 255,)),
    (checks.check_labels, (LABELS,)),
    (checks.check_labels, (LABELS, 3)),
    (checks.check_codes, (CODES, 4)),
    (checks.check_codes, (CODES.double() - 1e9, 4, 3)),
    (checks.check_at_least, (1, 1)),
    (checks.check_at_least, (-2, -3)),
    (checks.check_positive, (1,)),
    (checks.check_positive, (5e-324,)),
    (checks.check_choice, ("b", ("a", "b"))),
]

# function, arguments, error, what came (as it stands in the message), what was wanted
BAD: list[tuple[Callable[..., object], tuple[Any, ...], type[Exception], str, str]] = [
    (checks.check_unit_images, ([[0.5]],), TypeError, "[[0.5]] (list)", "(B, 28, 28)"),
    (checks.check_unit_images, (IMAGES.numpy(),), TypeError, "(ndarray)", "(B, 28, 28)"),
    (checks.check_unit_images, (BYTES,), ValueError, "torch.uint8", "floating-point"),
    (checks.check_unit_images, (IMAGES[0],), ValueError, "(28, 28)", "(B, 28, 28)"),
    (checks.check_unit_images, (IMAGES[:, :27],), ValueError, "(3, 27, 28)", "(B, 28, 28)"),
    (checks.check_unit_images, (IMAGES[:, None],), ValueError, "(3, 1, 28, 28)", "(B, 28, 28)"),
    (checks.check_unit_images, (IMAGES[:0],), ValueError, "an empty batch", "B >= 1"),
    (checks.check_unit_images, (torch.full((1, 28, 28), 1.5),), ValueError, "to 1.5", "[0, 1]"),
    (checks.check_unit_images, (torch.full((1, 28, 28), -0.1),), ValueError, "-0.1", "[0, 1]"),
    (checks.check_unit_images, (NAN_IMAGE,), ValueError, "nan", "[0, 1]"),
    (checks.check_byte_images, (None,), TypeError, "None (NoneType)", "uint8"),
    (checks.check_byte_images, (IMAGES,), ValueError, "torch.float32", "uint8"),
    (checks.check_byte_images, (BYTES[0],), ValueError, "(28, 28)", "(B, 28, 28)"),
    (checks.check_byte_images, (BYTES[:0],), ValueError, "an empty batch", "B >= 1"),
    (checks.check_labels, ([0, 1],), TypeError, "[0, 1] (list)", "int64"),
    (checks.check_labels, (LABELS.float(),), ValueError, "torch.float32", "int64"),
    (checks.check_labels, (LABELS.int(),), ValueError, "torch.int32", "int64"),
    (checks.check_labels, (LABELS[0],), ValueError, "shape ()", "(B,)"),
    (checks.check_labels, (LABELS[None],), ValueError, "(1, 3)", "(B,)"),
    (checks.check_labels, (LABELS[:0],), ValueError, "an empty batch", "(B,)"),
    (checks.check_labels, (LABELS, 5), ValueError, "(3,)", "(5,)"),
    (checks.check_labels, (torch.tensor([3, 10]),), ValueError, "from 3 to 10", "0 to 9"),
    (checks.check_labels, (torch.tensor([-1, 3]),), ValueError, "from -1 to 3", "0 to 9"),
    (checks.check_codes, (0.5, 4), TypeError, "0.5 (float)", "(B, 4)"),
    (checks.check_codes, (CODES.long(), 4), ValueError, "torch.int64", "floating-point"),
    (checks.check_codes, (CODES[0], 4), ValueError, "(4,)", "(B, 4)"),
    (checks.check_codes, (CODES, 5), ValueError, "(3, 4)", "(B, 5)"),
    (checks.check_codes, (CODES, 4, 2), ValueError, "(3, 4)", "(2, 4)"),
    (checks.check_codes, (CODES[:0], 4), ValueError, "(0, 4)", "(B, 4)"),
    (checks.check_codes, (CODES / 0, 4), ValueError, "not finite", "finite"),
    (checks.check_codes, (CODES - math.inf, 4), ValueError, "not finite", "finite"),
    (checks.check_texts, ("ab",), TypeError, "'ab' (str)", "a sequence of texts"),
    (checks.check_texts, (["a", 1],), TypeError, "1 (int)", "a sequence of texts"),
    (checks.check_classes, ("0123456789",), TypeError, "'0123456789' (str)", "10 different names"),
    (checks.check_at_least, (1.0, 1), TypeError, "1.0 (float)", ">= 1"),
    (checks.check_at_least, ("3", 1), TypeError, "'3' (str)", ">= 1"),
    (checks.check_at_least, (True, 1), TypeError, "True (bool)", ">= 1"),
    (checks.check_at_least, (np.bool_(True), 1), TypeError, "(bool", ">= 1"),
    (checks.check_at_least, (np.float64(3), 1), TypeError, "(float64)", ">= 1"),
    (checks.check_at_least, (torch.tensor(3), 1), TypeError, "torch.int64 tensor", ">= 1"),
    (checks.check_at_least, (np.int64(0), 1), ValueError, "got 0", ">= 1"),
    (checks.check_at_least, (0, 1), ValueError, "got 0", ">= 1"),
    (checks.check_positive, ("1",), TypeError, "'1' (str)", "positive"),
    (checks.check_positive, (True,), TypeError, "True (bool)", "positive"),
    (checks.check_positive, (0.0,), ValueError, "got 0.0", "positive"),
    (checks.check_positive, (-1e-3,), ValueError, "got -0.001", "positive"),
    (checks.check_positive, (math.inf,), ValueError, "got inf", "positive"),
    (checks.check_positive, (math.nan,), ValueError, "got nan", "positive"),
    (checks.check_choice, ("c", ("a", "b")), ValueError, "got 'c'", "'a', 'b'"),
    (checks.check_choice, (["a"], ("a", "b")), ValueError, "got ['a']", "'a', 'b'"),
]


@pytest.mark.parametrize(("check", "arguments"), GOOD)
def test_a_good_value_passes(check: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    check("thing", *arguments)


@pytest.mark.parametrize(("check", "arguments", "error", "came", "wanted"), BAD)
def test_a_bad_value_is_refused_by_name_with_what_came_and_what_was_wanted(
    check: Callable[..., object],
    arguments: tuple[Any, ...],
    error: type[Exception],
    came: str,
    wanted: str,
) -> None:
    with pytest.raises(error, match=r"^thing must be ") as caught:
        check("thing", *arguments)
    demand, _, report = str(caught.value).partition(", got ")
    assert wanted in demand
    assert came.removeprefix("got ") in report


@pytest.mark.parametrize("kind", [int, np.int64, np.int32, np.uint8])
def test_a_whole_number_comes_back_as_a_plain_int(kind: Callable[[int], int]) -> None:
    """Numpy's kinds are refused by torch's generators and by JSON, and uint8 counts to 255."""
    found = [
        checks.check_whole("thing", kind(200)),
        checks.check_at_least("thing", kind(200), 1),
        checks.check_seed("thing", kind(200)),
        *checks.check_all_at_least("thing", [kind(200), 200], 1),
    ]
    assert found == [200] * 5
    assert {type(number) for number in found} == {int}


def test_uint8_images_are_told_how_to_become_floating_point() -> None:
    with pytest.raises(ValueError, match=re.escape("data.to_unit() and data.binarize()")):
        checks.check_unit_images("x", BYTES)


def test_what_is_on_another_device_is_told_so_once() -> None:
    wanted = r"^x must be on cpu, where the model is, got one on meta$"
    with pytest.raises(ValueError, match=wanted):
        checks.check_beside("x", torch.zeros(2, device="meta"), torch.zeros(1))
