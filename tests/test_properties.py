"""Every public function of the library, with arguments that hypothesis makes up.

The rule: the right answer, or a ValueError or TypeError that names the argument. No other
exception, and no answer to a question that makes no sense.

A `Kind` is what an argument may be: how a valid value is drawn, and how one that is not. `ENTRIES`
says for each public function of which kind its arguments are and what it promises; the last test
holds the list against the modules, so that a new function cannot be forgotten.
"""

from __future__ import annotations

import copy
import fnmatch
import functools
import importlib
import inspect
import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn

from cvae_utils import checks, data, evaluation, masks, models, objectives, plotting
from cvae_utils.checks import FLOATS
from cvae_utils.data import Split
from cvae_utils.evaluation import chunks, estimates, report, samples
from cvae_utils.models import (
    CGAN,
    GAN,
    VAE,
    Classifier,
    ConditionalGenerator,
    ConditionalVAE,
    ConvCVAE,
    Gaussian,
    InpaintingCVAE,
    LabelCVAE,
    base,
)
from cvae_utils.training import History
from cvae_utils.widgets import pictures

Strategy = st.SearchStrategy[Any]
Arguments = dict[str, Any]

VALID_EXAMPLES, SLOW_EXAMPLES = 25, 3
INVALID_EXAMPLES = 2  # sets of valid arguments, in each of which each is replaced in turn
LATENT_DIM = 3


# ---------------------------------------------------------------- models, small enough to be quick


def small(model: Any) -> Any:
    return model.eval().requires_grad_(False)


torch.manual_seed(0)
VAES = [
    small(VAE(LATENT_DIM, 4)),
    small(LabelCVAE(LATENT_DIM, 4)),
    small(LabelCVAE(LATENT_DIM, 4, "generation")),
    small(ConvCVAE(LATENT_DIM, 2, 4)),
]
GANS = [small(GAN(LATENT_DIM, 2, 4)), small(CGAN(LATENT_DIM, 2, 4))]
FILLERS = [small(InpaintingCVAE(LATENT_DIM, 2, 4)), small(InpaintingCVAE(0, 2, 4))]
JUDGE = small(Classifier(1))


# ---------------------------------------------------------------- kinds of arguments


@dataclass(frozen=True)
class Kind:
    """What an argument may be.

    Attributes:
        good: batch size -> valid values; arguments that belong together get the same size.
        bad: batch size -> values that must be refused, all of which are tried.
    """

    good: Callable[[int], Strategy]
    bad: Callable[[int], list[Any]] = lambda batch: []


def one_of(*values: Any) -> Strategy:
    return st.sampled_from(values)


def constant(*values: Any) -> Callable[[int], Strategy]:
    return lambda batch: one_of(*values)


def refused(*values: Any) -> Callable[[int], list[Any]]:
    return lambda batch: list(values)


NO_TENSORS = (None, "seven", "", 3, 0.5, True, [0.5], [[0.0] * 28] * 28, {"a": 1}, object())


def no_tensors(like: Tensor) -> list[Any]:
    return [*NO_TENSORS, like.numpy(), tuple(like), [like], torch.Generator()]


def drawn(make: Callable[[torch.Generator], Any]) -> Strategy:
    """Values that are made of a seed."""
    return st.integers(0, 2**20).map(lambda seed: make(torch.Generator().manual_seed(seed)))


def spoilt(tensor: Tensor, *values: float) -> list[Tensor]:
    """The tensor with one of these values in one place, first or last."""
    found = []
    for value in values:
        for place in (0, -1):
            flat = tensor.flatten().clone()
            flat[place] = value
            found.append(flat.view(tensor.shape))
    return found


def strange(tensor: Tensor) -> list[Tensor]:
    """The tensor in dtypes, layouts and places where it does not belong."""
    return [
        tensor.to(torch.complex64),
        tensor.to(torch.float8_e4m3fn),
        tensor.to_sparse(),
        tensor.to("meta"),
        torch.empty(0, dtype=tensor.dtype),
        torch.zeros((), dtype=tensor.dtype),
        tensor[None],
        tensor[0],
        tensor[:0],
    ]


def unit(batch: int, dtypes: tuple[torch.dtype, ...]) -> Strategy:
    def make(generator: torch.Generator) -> Tensor:
        images = torch.rand(batch, 28, 28, generator=generator)
        look = int(torch.randint(4, (), generator=generator))
        if look == 1:
            images = images.round()
        if look == 2:  # every second column of a wider one: not contiguous
            images = torch.rand(batch, 28, 56, generator=generator)[:, :, ::2]
        if look == 3:
            images = images.requires_grad_(False).transpose(1, 2)
        dtype = dtypes[int(torch.randint(len(dtypes), (), generator=generator))]
        return images.to(dtype)

    return drawn(make)


def no_unit(batch: int, values: bool = True) -> list[Any]:
    x = torch.rand(batch, 28, 28, generator=torch.Generator().manual_seed(batch))
    wrong = [
        *no_tensors(x), *strange(x), (x * 255).byte(), x.long(), x > 0.5,
        x[:, :27], x[:, :, 1:], x.flatten(1), x[:, None],
    ]  # fmt: skip
    if values:
        wrong += spoilt(x, math.nan, math.inf, -math.inf, 1.001, -0.001, 255)
    return wrong


def other_precision(batch: int) -> list[Any]:
    return [torch.zeros(batch, 28, 28, dtype=dtype) for dtype in FLOATS if dtype.itemsize != 4]


UNIT = Kind(lambda batch: unit(batch, FLOATS), no_unit)
SEEN = Kind(  # by a model, which is in float32
    lambda batch: unit(batch, (torch.float32,)),
    lambda batch: no_unit(batch) + other_precision(batch),
)
TRUSTED = Kind(  # in training, where values are checked once, before it begins
    SEEN.good, lambda batch: no_unit(batch, values=False) + other_precision(batch)
)


def byte_images(batch: int) -> Strategy:
    return drawn(
        lambda generator: torch.randint(
            256, (batch, 28, 28), generator=generator, dtype=torch.uint8
        )
    )


def no_bytes(batch: int) -> list[Any]:
    x = torch.zeros(batch, 28, 28, dtype=torch.uint8)
    wrong = [*no_tensors(x), *strange(x), x.float(), x.long(), x[:, :, :5], x.flatten(1)]
    return wrong


BYTES = Kind(byte_images, no_bytes)


def labels(batch: int) -> Strategy:
    return drawn(lambda generator: torch.randint(10, (batch,), generator=generator))


def no_labels(batch: int, bound: bool = True, values: bool = True) -> list[Any]:
    y = torch.arange(batch) % 10
    wrong = [
        *no_tensors(y), *strange(y), y.float(), y.int(), y.byte(), y > 0,
        nn.functional.one_hot(y, 10),
    ]  # fmt: skip
    if values:
        wrong += spoilt(y, -1, 10, 2**62)
    if bound:
        wrong += [torch.cat([y, y]), y.repeat(10)]
    return wrong


CLASSES = Kind(
    constant(*(original.classes for original in data.ORIGINALS.values()), list("abcdefghij")),
    refused(
        None, 10, "0123456789", data.DIGITS[:9], (*data.DIGITS, "10"), ["a"] * 10, list(range(10)),
        [], [*data.DIGITS[:9], None],
    ),
)  # fmt: skip
NAMES = Kind(  # of as many labels as there are names
    CLASSES.good,
    refused(None, 10, "0123456789", ["a"] * 10, list(range(10)), [], ["a"], ["a", None]),
)
# Where labels are drawn for ten classes; other numbers: test_classes.py.
TEN = Kind(constant(10), refused(None, "10", 10.0, True, 1, 0, -(10**30)))
LABELS = Kind(labels, lambda batch: no_labels(batch, bound=False))
BOUND_LABELS = Kind(labels, no_labels)  # as many as there are images
TRUSTED_LABELS = Kind(labels, lambda batch: no_labels(batch, values=False))


def masked(batch: int) -> Strategy:
    return drawn(
        lambda generator: masks.hide(
            torch.rand(batch, 28, 28, generator=generator), masks.mixed(batch, generator)
        )
    )


def no_masked(batch: int, bound: bool = True, values: bool = True) -> list[Any]:
    given = masks.hide(torch.rand(batch, 28, 28), masks.centre())
    wrong = [
        *no_tensors(given), *strange(given), given.double(), given.half(), given.long(),
        given[:, 0], given[:, :1], torch.arange(batch) % 10,
    ]  # fmt: skip
    if values:
        wrong += [*spoilt(given, math.nan, math.inf, 2, -1), given + 0.5, given * 0.5]
    if bound:
        wrong += [torch.cat([given, given])]
    return wrong


MASKED = Kind(masked, lambda batch: no_masked(batch, bound=False))
BOUND_MASKED = Kind(masked, no_masked)
TRUSTED_MASKED = Kind(masked, lambda batch: no_masked(batch, values=False))


def floats(*shape: int | str, refused: tuple[float, ...] = (), bound: bool = True) -> Kind:
    """Normal numbers of a shape, in which "B" is the batch size.

    `refused` values must be; without any, values are trusted. `bound`: another argument says what
    the shape is.
    """

    def sizes(batch: int) -> list[int]:
        return [batch if isinstance(size, str) else size for size in shape]

    def bad(batch: int) -> list[Any]:
        z = torch.zeros(sizes(batch))
        wrong = [*no_tensors(z), *strange(z), *spoilt(z, *refused), z.long(), z > 0]
        return wrong + [torch.cat([z, z]), torch.cat([z, z], -1)] * bound

    return Kind(
        lambda batch: drawn(lambda generator: 3 * torch.randn(sizes(batch), generator=generator)),
        bad,
    )


CODES = floats("B", LATENT_DIM, refused=(math.nan, math.inf, -math.inf))
PRECISE = Kind(  # like the model
    CODES.good, lambda batch: [*CODES.bad(batch), torch.zeros(batch, LATENT_DIM).double()]
)


def one_mask(batch: int) -> Strategy:
    dtypes = (*masks.INTEGERS, torch.bool, torch.float32, torch.float16)
    return st.tuples(
        drawn(lambda generator: torch.rand(28, 28, generator=generator) < 0.5), one_of(*dtypes)
    ).map(lambda pair: pair[0].to(pair[1]))


def no_mask(batch: int, single: bool = True) -> list[Any]:
    mask = masks.centre().float()
    wrong = [
        *no_tensors(mask), *strange(mask)[:-3], *spoilt(mask, math.nan, 0.5, 2, -1),
        mask[:27], mask[None, None], mask[None][:0], mask.expand(batch + 1, 28, 28),
    ]  # fmt: skip
    return wrong + [mask[None]] * single


ONE_MASK = Kind(one_mask, no_mask)
HIDING = Kind(one_mask, lambda batch: [*no_mask(batch), torch.ones(28, 28)])
MASK = Kind(  # one for all or for each
    lambda batch: one_mask(batch) | drawn(lambda generator: masks.mixed(batch, generator)),
    lambda batch: no_mask(batch, single=False),
)


def whole(least: int, most: int, limit: int | None = None) -> Kind:
    """Whole numbers of which `least` to `most` are tried; `limit` is where they must end."""
    wrong: list[Any] = [None, "3", "", 2.0, True, [1], (1,), torch.tensor(3), math.nan, math.inf]
    wrong += [np.bool_(True), np.float64(3)]
    wrong += [least - 1, least - 10**30] + ([] if limit is None else [limit + 1, limit + 10**30])
    numbers = st.integers(least, most)
    return Kind(lambda batch: numbers | numbers.map(np.int64), lambda batch: wrong)


def anywhere() -> Kind:
    """Whole numbers without any limit."""
    wrong = (None, "3", 2.0, True, [1], torch.tensor(3), math.nan, math.inf)
    return Kind(lambda batch: st.integers(-40, 40) | one_of(10**30, -(10**30)), refused(*wrong))


def wholes(least: int, most: int, limit: int | None = None) -> Kind:
    numbers = st.lists(st.integers(least, most), min_size=1, max_size=3)
    wrong: list[Any] = [
        None,
        3,
        True,
        2.0,
        "",
        "12",
        [],
        (),
        [1.0],
        ["1"],
        [None],
        [True],
        [[1]],
        [1, least - 1],
    ]
    wrong += [torch.tensor([1]), torch.tensor(1), np.array([1, 2]), {1: 1}]
    wrong += [] if limit is None else [[limit + 1]]
    some = numbers | numbers.map(tuple) | numbers.map(lambda found: [*map(np.int64, found)])
    return Kind(lambda batch: some, lambda batch: wrong)


NO_NUMBERS = (None, "1", "", True, [1.0], math.nan, math.inf, -math.inf, 10**400, 1j)


def number(least: float, most: float, *wrong: float) -> Kind:
    strange = (*NO_NUMBERS, torch.tensor(1.0), np.float32(1), *wrong)
    return Kind(lambda batch: st.floats(least, most), refused(*strange))


def choice(*choices: Any) -> Kind:
    wrong = [None, "", "?", 99, -1, True, 1.0, [choices[0]], {}, object()]
    wrong += [np.array(choices), torch.tensor([1, 2]), str(choices[0]).upper() + " ", b"left"]
    return Kind(constant(*choices), lambda batch: wrong)


def thing(*values: Any, also: tuple[Any, ...] = ()) -> Kind:
    """One of these values; never what is of quite another kind."""
    wrong = (0, 0.5, "seven", True, [0], object(), torch.zeros(2, 28, 28), nn.Linear(1, 1), *also)
    return Kind(constant(*values), refused(*wrong))


SEED = whole(0, 2**63 - 1, limit=2**63 - 1)
GENERATOR = Kind(
    lambda batch: drawn(lambda generator: generator) | st.none(),
    refused(0, "cpu", True, [0], np.random.default_rng(0), torch.zeros(1)),
)
DRAWER = Kind(lambda batch: drawn(lambda generator: generator), GENERATOR.bad)
TITLE = Kind(lambda batch: st.text("abc 0é", max_size=9), refused(None, 0, 1.5, True, ["a"], b"a"))
VAE_KIND = thing(*VAES, also=(None, *GANS, *FILLERS, JUDGE, VAE))
DRAWS = thing(*VAES, *GANS, also=(None, *FILLERS, JUDGE, GAN))
FILLS = thing(FILLERS[0], also=(None, *VAES, *GANS, JUDGE))
JUDGES = thing(JUDGE, also=(None, *VAES, *GANS, *FILLERS))


def split_of(batch: int) -> Split:
    generator = torch.Generator().manual_seed(batch)
    images = torch.randint(256, (batch, 28, 28), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(batch) % 10)


SPLITS = Kind(
    lambda batch: st.integers(1, 4).map(split_of),
    refused(None, "mnist", 3, [], split_of(2).images, (split_of(2).images, split_of(2).labels)),
)
BIG = split_of(60)  # six of each label


def neither_bytes_nor_unit(batch: int) -> list[Any]:
    bytes_alone = [v for v in no_bytes(batch) if isinstance(v, Tensor) and v.dtype == torch.uint8]
    wrong = [v for v in no_unit(batch) if not isinstance(v, Tensor) or v.dtype != torch.uint8]
    return bytes_alone + wrong


# ---------------------------------------------------------------- promises


def fits(
    *shape: int | str, low: float = -math.inf, high: float = math.inf, dtype: Any = None
) -> Callable[[Any, Arguments], bool]:
    """Return a check of a tensor: shape ("B" is as long as the first tensor), range, no NaN."""

    def promise(result: Any, given: Arguments) -> bool:
        batch = next((len(v) for v in given.values() if isinstance(v, (Tensor, Split))), 0)
        wanted = [batch if size == "B" else given.get(str(size), size) for size in shape]
        right = dtype is None or result.dtype == dtype
        return (
            list(result.shape) == wanted
            and right
            and bool(((result >= low) & (result <= high)).all())
        )

    return promise


def is_mask(result: Any, given: Arguments) -> bool:
    return bool(result.dtype == torch.bool and result.shape == (28, 28))


def nothing(result: Any, given: Arguments) -> bool:
    return result is None


def plain(result: Any, given: Arguments) -> bool:
    """What went in, numpy's whole numbers as plain ones."""
    kinds = {type(number) for number in (result if isinstance(result, list) else [result])}
    (value,) = given.values()
    return kinds == {int} and result == (list(value) if isinstance(result, list) else value)


def share(result: Any, given: Arguments) -> bool:
    return bool(0 <= result.low <= result.value + 1e-12 <= result.high + 2e-12 <= 1 + 3e-12)


def estimate(result: Any, given: Arguments) -> bool:
    return math.isfinite(result.value) and (
        math.isnan(result.standard_error) or result.standard_error >= 0
    )


def figure(result: Any, given: Arguments) -> bool:
    plt.close(result)
    return isinstance(result, Figure) and bool(result.axes)


# ---------------------------------------------------------------- the table


@dataclass(frozen=True)
class Entry:
    """A public function with what its arguments are and what comes out.

    Attributes:
        name: module and name below `cvae_utils`.
        kinds: argument -> its kind; the names are those that messages bear.
        promise: whether a result is what a valid call should give.
        call: does it with these arguments.
        variant: where one function has several entries.
        sizes: the batch sizes.
        slow: whether a call takes long; fewer are tried then.
    """

    name: str
    call: Callable[..., Any]
    kinds: dict[str, Kind]
    promise: Callable[[Any, Arguments], Any]
    variant: str = ""
    sizes: tuple[int, ...] = (1, 2, 4)
    slow: bool = False

    def __str__(self) -> str:
        return f"{self.name}[{self.variant}]" if self.variant else self.name


ENTRIES: list[Entry] = []


def entry(
    target: Any,
    kinds: dict[str, Kind],
    promise: Callable[[Any, Arguments], Any],
    call: Callable[..., Any] | None = None,
    **options: Any,
) -> None:
    name = f"{target.__module__}.{target.__qualname__}".removeprefix("cvae_utils.")
    ENTRIES.append(Entry(name, call or target, kinds, promise, **options))


# ---------------------------------------------------------------- checks

for _check, _kind in {
    checks.check_unit_images: UNIT,
    checks.check_byte_images: BYTES,
    checks.check_labels: LABELS,
    checks.check_masked_images: Kind(
        masked,  # in any precision: no model is there to have one
        lambda batch: [
            value
            for value in no_masked(batch, bound=False)
            if not isinstance(value, Tensor) or value.dtype not in (torch.float16, torch.float64)
        ],
    ),
    checks.check_texts: Kind(constant((), ["a", "b"]), refused(None, 3, "ab", [3], ["a", None])),
    checks.check_classes: CLASSES,
    checks.check_positive: number(1e-9, 1e9, 0.0, -1.0),
    checks.check_generator: GENERATOR,
    checks.check_function: Kind(constant(len, Split), refused(None, 3, "len", [len])),
}.items():
    entry(_check, {"value": _kind}, nothing, functools.partial(
        lambda check, value: check("value", value, *(["it"] * (check is checks.check_function))),
        _check,
    ))  # fmt: skip
entry(
    checks.check_codes,
    {"value": floats("B", LATENT_DIM, refused=(math.nan, -math.inf), bound=False)},
    nothing,
    lambda value: checks.check_codes("value", value, LATENT_DIM),
)
entry(
    checks.check_floats,
    {"value": floats("B", 2, refused=(math.nan,), bound=False)},
    nothing,
    lambda value: checks.check_floats("value", value, "B", 2, finite=True),
)
entry(
    checks.check_beside,
    {"value": Kind(CODES.good, refused(torch.ones(2).double(), torch.ones(2, device="meta")))},
    nothing,
    lambda value: checks.check_beside("value", value, torch.ones(1)),
)
entry(checks.check_seed, {"value": SEED}, plain, lambda value: checks.check_seed("value", value))
entry(
    checks.check_whole,
    {"value": anywhere()},
    plain,
    lambda value: checks.check_whole("value", value),
)
entry(
    checks.check_at_least,
    {"value": whole(2, 9, limit=9)},
    plain,
    lambda value: checks.check_at_least("value", value, 2, 9),
)
entry(
    checks.check_all_at_least,
    {"value": wholes(2, 9, limit=9)},
    plain,
    lambda value: checks.check_all_at_least("value", value, 2, 9),
)
entry(
    checks.check_number,
    {"value": number(-2, 3, -2.1, 3.1)},
    nothing,
    lambda value: checks.check_number("value", value, -2, 3),
)
entry(
    checks.check_choice,
    {"value": choice(1, 2, 3)},
    nothing,
    lambda value: checks.check_choice("value", value, (1, 2, 3)),
)
entry(
    checks.check_is, {"value": TITLE}, nothing, lambda value: checks.check_is("value", value, str)
)

# ---------------------------------------------------------------- data

entry(data.to_unit, {"images": BYTES}, fits("B", 28, 28, low=0, high=1, dtype=torch.float32))
entry(data.grey, {"images": BYTES}, fits("B", 28, 28, low=0, high=1, dtype=torch.float32))


def black_and_white(result: Any, given: Arguments) -> bool:
    images = given["images"]
    dtype = torch.float32 if images.dtype == torch.uint8 else images.dtype
    ink = (images == images.new_tensor(255 if images.dtype == torch.uint8 else 1)) <= (result == 1)
    paper = (images == 0) <= (result == 0)
    return bool(
        result.dtype == dtype
        and result.shape == images.shape
        and ((result == 0) | (result == 1)).all()
        and (ink & paper).all()
    )


entry(
    data.binarize,
    {"images": Kind(UNIT.good, neither_bytes_nor_unit), "generator": GENERATOR},
    black_and_white,
    variant="floats",
)


entry(
    data.binarize,
    {"images": Kind(BYTES.good, neither_bytes_nor_unit), "generator": GENERATOR},
    black_and_white,
    variant="bytes",
)
entry(
    data.fixed_binarization,
    {"images": BYTES, "seed": SEED},
    lambda result, given: (
        black_and_white(result, given) and torch.equal(result, data.fixed_binarization(**given))
    ),
)
entry(
    data.batches,
    {"split": SPLITS, "batch_size": whole(1, 9), "generator": GENERATOR},
    lambda result, given: (
        sorted(label for _, y in result for label in y.tolist()) == given["split"].labels.tolist()
        and all(len(x) == len(y) <= given["batch_size"] for x, y in result)
    ),
    lambda split, batch_size, generator: list(data.batches(split, batch_size, generator)),
)
entry(
    data.jitter,
    {"images": BYTES, "generator": DRAWER, "reach": whole(0, 28, limit=28)},
    fits("B", 28, 28, low=0, high=1, dtype=torch.float32),
)
entry(
    data.nudge,
    {"images": BYTES, "generator": DRAWER},
    fits("B", 28, 28, low=0, high=1, dtype=torch.float32),
)
entry(
    data.Split,
    {"images": BYTES, "labels": BOUND_LABELS, "num_classes": TEN},
    lambda result, given: len(result) == len(given["labels"]),
)
entry(
    data.Split.take,
    {"count": whole(1, 70)},
    lambda result, given: (
        torch.equal(result.labels, BIG.labels[: given["count"]])
        and len(result.images) == len(result)
    ),
    lambda count: BIG.take(count),
)

# ---------------------------------------------------------------- masks

entry(
    masks.check_mask,
    {"mask": MASK},
    lambda result, given: torch.equal(result, given["mask"].bool()),
    lambda mask: masks.check_mask("mask", mask, 3),
    sizes=(3,),
)
entry(
    masks.check_one_mask,
    {"mask": ONE_MASK},
    is_mask,
    lambda mask: masks.check_one_mask("mask", mask),
)
SIZE = whole(0, 40)


def inside(row: int, column: int, top: int, left: int, height: int, width: int) -> bool:
    return top <= row < top + height and left <= column < left + width


def is_hole(result: Any, given: Arguments) -> bool:
    places = [(row, column) for row in range(28) for column in range(28)]
    numbers = {name: int(number) for name, number in given.items()}  # numpy's have an end
    return (
        is_mask(result, given)
        and [not inside(*place, **numbers) for place in places] == result.flatten().tolist()
    )


entry(masks.hole, {"top": anywhere(), "left": anywhere(), "height": SIZE, "width": SIZE}, is_hole)
entry(
    masks.centre,
    {"size": SIZE},
    lambda result, given: is_mask(result, given) and (~result).sum() == min(given["size"], 28) ** 2,
)
entry(
    masks.quadrants,
    {"visible": choice(1, 2, 3)},
    lambda result, given: is_mask(result, given) and result.sum() == 196 * given["visible"],
)
entry(
    masks.half,
    {"visible": choice(*masks.SIDES)},
    lambda result, given: is_mask(result, given) and result.sum() == 392,
)
entry(masks.random_pixels, {"share": number(0, 1, -0.01, 1.01), "generator": GENERATOR}, is_mask)
POINTS = st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
STROKE = Kind(
    lambda batch: st.lists(POINTS, min_size=1, max_size=4),
    refused(
        None,
        "",
        "abc",
        3,
        True,
        [],
        [()],
        [3],
        [(1, 2, 3)],
        [(1, "2")],
        [(1, None)],
        [(1, math.nan)],
        [(math.inf, 1)],
        [(1, 2), (3,)],
        [(1e30, 2)],
        [(10**400, 1)],
        [[[1, 2]]],
        torch.zeros(3),
        object(),
        {"a": 1},
        [(1j, 2)],
    ),
)


def to_segment(p: tuple[float, float], a: tuple[float, float], b: tuple[float, float]) -> float:
    length = math.dist(a, b) ** 2
    along = sum((b[i] - a[i]) * (p[i] - a[i]) for i in (0, 1)) / length if length else 0
    t = min(1, max(0, along))
    return math.dist(p, (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))


def is_distance(result: Any, given: Arguments) -> bool:
    stroke = given["stroke"]
    segments = list(zip(stroke, [*stroke[1:], stroke[-1]], strict=True))
    return all(
        abs(result[place].item() - min(to_segment(place, *segment) for segment in segments)) < 0.02
        for place in ((0, 0), (27, 27), (5, 20), (13, 14))
    )


entry(masks.distance, {"stroke": STROKE}, is_distance)
entry(masks.brush, {"stroke": STROKE, "radius": number(0, 50, -1e-9)}, is_mask)
entry(
    masks.always,
    {"mask": ONE_MASK},
    lambda result, given: result(2, torch.Generator()).shape == (2, 28, 28),
)
entry(
    masks.hide,
    {"x": UNIT, "mask": MASK},
    lambda result, given: (
        bool(
            (result[:, 0] == given["x"] * given["mask"].bool()).all()
            and (result[:, 1] == given["mask"]).all()
        )
        and result.dtype == given["x"].dtype
    ),
)
entry(
    masks.grey_out,
    {"x": UNIT, "mask": MASK},
    lambda result, given: (
        bool(torch.where(given["mask"].bool(), result == given["x"], result == 0.5).all())
        and result.dtype == given["x"].dtype
    ),
)
entry(
    masks.mixed,
    {
        "batch": whole(1, 5),
        "generator": Kind(DRAWER.good, lambda batch: [None, *GENERATOR.bad(batch)]),
    },
    fits("batch", 28, 28, dtype=torch.bool),
)

# ---------------------------------------------------------------- models

SMALL = {"latent_dim": whole(1, 4), "width": whole(1, 4), "num_classes": whole(2, 30)}
WIDER = SMALL | {"width": whole(2, 4), "hidden": whole(1, 4)}
GAME = WIDER | {"hidden": whole(2, 4), "temperature": number(0.01, 3, 0.0, -1)}


def remembers(result: Any, given: Arguments) -> bool:
    return {name: result.config[name] for name in given} == given


entry(
    models.build,
    {"name": choice(*models.MODELS)},
    lambda result, given: result.name == given["name"],
)
entry(VAE, SMALL, remembers)
entry(LabelCVAE, SMALL | {"label_in": choice("both", "generation")}, remembers)
entry(ConvCVAE, WIDER, remembers)
FILLING = {name: kind for name, kind in WIDER.items() if name != "num_classes"}
entry(InpaintingCVAE, FILLING | {"latent_dim": whole(0, 4)}, remembers)
entry(GAN, GAME, remembers)
entry(GAN, GAME, remembers, CGAN, variant="cgan")
entry(Classifier, {"width": whole(1, 3), "num_classes": whole(2, 30)}, remembers)

PICTURE = fits("B", 28, 28, low=0, high=1, dtype=torch.float32)
ANY = Kind(constant(*VAES, *GANS))
ONE_VAE, ONE_GAN, FILLER = Kind(constant(*VAES)), Kind(constant(*GANS)), Kind(constant(*FILLERS))

entry(ConditionalGenerator.check_x, {"self": ANY, "x": SEEN}, nothing)
entry(
    ConditionalGenerator.check_given,
    {"self": ANY, "labels": LABELS},
    nothing,
    lambda self, labels: self.check_given(labels),
)
entry(InpaintingCVAE.check_given, {"self": FILLER, "given": MASKED}, nothing)
entry(
    ConditionalGenerator.generate,
    {"self": ANY, "z": PRECISE, "labels": LABELS},
    PICTURE,
    lambda self, z, labels: self.generate(z, labels),
)
entry(
    ConditionalGenerator.generate,
    {"self": Kind(constant(FILLERS[0])), "z": PRECISE, "given": MASKED},
    PICTURE,
    variant="inpainting",
)
entry(
    ConditionalGenerator.sample,
    {"self": Kind(constant(*VAES)), "labels": LABELS, "generator": GENERATOR},
    PICTURE,
    lambda self, labels, generator: self.sample(labels, generator),
)
entry(
    ConditionalGenerator.sample,
    {"self": FILLER, "given": MASKED, "generator": GENERATOR},
    PICTURE,
    variant="inpainting",
)
entry(
    GAN.sample,
    {"self": ONE_GAN, "labels": LABELS, "generator": GENERATOR},
    PICTURE,
    lambda self, labels, generator: self.sample(labels, generator),
)
entry(
    GAN.discriminate, {"self": ONE_GAN, "x": SEEN, "labels": BOUND_LABELS}, fits("B", low=0, high=1)
)
for _method in (ConditionalVAE.recognize, ConditionalVAE.reconstruct):
    promise = (
        PICTURE
        if _method is ConditionalVAE.reconstruct
        else lambda result, given: fits("B", LATENT_DIM)(result.mu, given)
    )
    entry(
        _method,
        {"self": ONE_VAE, "x": SEEN, "labels": BOUND_LABELS},
        promise,
        functools.partial(lambda method, self, x, labels: method(self, x, labels), _method),
    )
    entry(
        _method,
        {"self": Kind(constant(FILLERS[0])), "x": SEEN, "given": BOUND_MASKED},
        promise,
        variant="inpainting",
    )
entry(
    Classifier.read,
    {"self": Kind(constant(JUDGE)), "x": SEEN},
    fits("B", low=0, high=9, dtype=torch.int64),
)
entry(Classifier.describe, {"self": Kind(constant(JUDGE)), "x": SEEN}, fits("B", 128))
entry(
    base.check_model,
    {"model": VAE_KIND},
    nothing,
    lambda model: base.check_model("model", model, ConditionalVAE),
)
entry(
    base.check_same_classes,
    {"num_classes": Kind(constant(10), refused(9, 11)), "model": Kind(constant(*VAES, JUDGE))},
    nothing,
    lambda num_classes, model: base.check_same_classes("num_classes", num_classes, model),
)

LOGVAR = floats("B", LATENT_DIM)
entry(
    Gaussian.check,
    {"mu": floats("B", LATENT_DIM, bound=False), "logvar": LOGVAR},
    nothing,
    lambda mu, logvar: Gaussian(mu, logvar).check(),
)
entry(
    Gaussian.sample,
    {"mu": floats("B", LATENT_DIM, bound=False), "logvar": LOGVAR, "generator": GENERATOR},
    fits("B", LATENT_DIM),
    lambda mu, logvar, generator: Gaussian(mu, logvar).sample(generator),
)
MORE_CODES = Kind(
    LOGVAR.good,
    lambda batch: [
        z
        for z in LOGVAR.bad(batch)
        if not isinstance(z, Tensor) or z.shape != (1, batch, LATENT_DIM)
    ],
)
entry(
    Gaussian.at,
    {"mu": floats("B", LATENT_DIM, bound=False), "logvar": LOGVAR, "eps": MORE_CODES},
    fits("B", LATENT_DIM),
    lambda mu, logvar, eps: Gaussian(mu, logvar).at(eps),
    sizes=(2, 4),
)
entry(
    Gaussian.log_prob,
    {"mu": floats("B", LATENT_DIM, bound=False), "logvar": LOGVAR, "z": MORE_CODES},
    fits("B"),
    lambda mu, logvar, z: Gaussian(mu, logvar).log_prob(z),
    sizes=(2, 4),
)

# ---------------------------------------------------------------- objectives


def gaussian(*, bound: bool) -> Kind:
    part = floats("B", LATENT_DIM, bound=bound)

    def bad(batch: int) -> list[Any]:
        right = torch.zeros(batch, LATENT_DIM)
        wrong = [None, 3, "q", right, (right, right), Gaussian]
        parts = part.bad(batch)
        return [*wrong, *(Gaussian(p, right) for p in parts), *(Gaussian(right, p) for p in parts)]

    return Kind(lambda batch: st.builds(Gaussian, part.good(batch), part.good(batch)), bad)


EACH = fits("B")
entry(
    objectives.gaussian_kl,
    {"q": gaussian(bound=False), "p": gaussian(bound=True)},
    lambda result, given: fits(len(given["q"].mu), LATENT_DIM, low=-1e-3)(result, given),
)
LOGITS = Kind(
    lambda batch: floats("B", 28, 28).good(batch), lambda batch: no_unit(batch, values=False)
)
entry(
    objectives.bernoulli_log_likelihood,
    {
        "logits": LOGITS,
        "x": Kind(
            SEEN.good, lambda batch: [*no_unit(batch, values=False), torch.zeros(batch + 1, 28, 28)]
        ),
        "counted": Kind(
            lambda batch: st.none() | unit(batch, (torch.float32,)),
            lambda batch: no_unit(batch, values=False)[1:],
        ),
    },
    fits("B", high=0),
)


def costs(result: Any, given: Arguments) -> bool:
    return (
        EACH(result.reconstruction, given)
        and EACH(result.kl, given)
        and bool((result.kl > -1e-3).all())
    )


def terms(result: Any, given: Arguments) -> bool:
    return all(EACH(value, {"x": given["x"]}) for value in result.values())


EITHER = thing(*VAES, also=(None, *GANS, JUDGE))
entry(
    objectives.elbo_terms,
    {"model": EITHER, "x": SEEN, "labels": BOUND_LABELS, "generator": GENERATOR},
    costs,
    lambda model, x, labels, generator: objectives.elbo_terms(model, x, labels, generator),
)
entry(
    objectives.elbo_terms,
    {
        "model": thing(*FILLERS, also=(None, *GANS, JUDGE)),
        "x": SEEN,
        "given": BOUND_MASKED,
        "generator": GENERATOR,
    },
    costs,
    variant="inpainting",
)
entry(
    objectives.negative_elbo,
    {"model": EITHER, "x": TRUSTED, "labels": TRUSTED_LABELS, "generator": DRAWER},
    terms,
    lambda model, x, labels, generator: objectives.negative_elbo(model, x, labels, generator),
)
entry(
    objectives.negative_elbo,
    {
        "model": thing(*FILLERS, also=(None, *GANS, JUDGE)),
        "x": TRUSTED,
        "given": TRUSTED_MASKED,
        "generator": DRAWER,
    },
    terms,
    variant="inpainting",
)
entry(
    objectives.log_importance_weights,
    {
        "model": EITHER,
        "x": SEEN,
        "labels": BOUND_LABELS,
        "samples": whole(1, 4),
        "generator": GENERATOR,
        "proposal": choice("recognition", "prior"),
    },
    lambda result, given: fits("B", "samples")(
        result, {"x": given["x"]} | {"samples": given["samples"]}
    ),
    lambda model, x, labels, samples, generator, proposal: objectives.log_importance_weights(
        model, x, labels, samples, generator, proposal=proposal
    ),
)
entry(
    objectives.importance_weighted_bound,
    {
        "log_weights": Kind(
            lambda batch: floats("B", 4).good(batch),
            refused(
                *no_tensors(torch.zeros(2)),
                torch.zeros(()),
                torch.zeros(3, 0),
                torch.zeros(3, dtype=torch.int64),
                torch.zeros(3).to_sparse(),
            ),
        )
    },
    EACH,
)
FROM_MASK = Kind(
    constant(masks.mixed, masks.always(masks.centre())), refused(None, "mixed", 3, masks.centre())
)
entry(objectives.inpainting, {"mask": FROM_MASK}, lambda result, given: callable(result))
entry(
    objectives.inpainting,
    {"model": thing(*FILLERS, also=(None, *GANS, JUDGE)), "x": TRUSTED, "generator": DRAWER},
    terms,
    lambda model, x, generator: objectives.inpainting(masks.mixed)(
        model, x, torch.arange(4), generator
    ),
    variant="terms",
)
entry(
    objectives.cross_entropy,
    {"model": JUDGES, "x": TRUSTED, "labels": TRUSTED_LABELS},
    terms,
    lambda model, x, labels: objectives.cross_entropy(model, x, labels, torch.Generator()),
)
entry(
    objectives.adversarial, {"penalty": number(0, 9, -1e-9)}, lambda result, given: callable(result)
)
LEARNING = [GAN(LATENT_DIM, 2, 4).eval(), CGAN(LATENT_DIM, 2, 4).eval()]
entry(
    objectives.adversarial,
    {
        "model": thing(*LEARNING, also=(None, *VAES, JUDGE)),
        "x": TRUSTED,
        "labels": TRUSTED_LABELS,
        "penalty": number(0, 2, -1),
        "generator": DRAWER,
    },
    lambda result, given: terms(result, given) and not given["x"].requires_grad,
    lambda model, x, labels, penalty, generator: objectives.adversarial(penalty)(
        model, x, labels, generator
    ),
    variant="terms",
)

# ---------------------------------------------------------------- evaluation

MEASURED = {"model": VAE_KIND, "split": SPLITS, "seed": SEED}
FILLED = {"model": FILLS, "split": SPLITS, "mask": ONE_MASK}
CPU = torch.device("cpu")

entry(
    chunks.noise_source,
    {"seed": SEED},
    lambda result, given: isinstance(result, torch.Generator),
    lambda seed: chunks.noise_source(CPU, seed),
)
entry(
    chunks.check_measured,
    MEASURED,
    nothing,
    lambda model, split, seed: chunks.check_measured(model, ConditionalVAE, split, seed),
)
entry(evaluation.posterior_codes, MEASURED, fits("B", LATENT_DIM))
entry(evaluation.kl_per_dimension, MEASURED, fits(LATENT_DIM, low=-1e-3))
TRAIN = Kind(
    lambda batch: st.integers(5, 12).map(split_of),
    lambda batch: [*SPLITS.bad(batch), Split(BIG.images[:2], torch.tensor([3, 3]))],
)
entry(
    evaluation.label_probe,
    {
        "model": VAE_KIND,
        "train": TRAIN,
        "test": SPLITS,
        "seed": whole(0, 2**63 - 2, limit=2**63 - 2),
    },
    share,
    slow=True,
)
entry(
    evaluation.wilson,
    {"successes": whole(0, 5), "trials": Kind(whole(5, 10**9).good, whole(1, 9).bad)},
    share,
)
entry(
    evaluation.wilson,
    {"successes": Kind(whole(0, 5).good, refused(10, 10**30))},
    share,
    lambda successes: evaluation.wilson(successes, 9),
    variant="more",
)
entry(
    estimates.mean_and_error,
    {"values": floats("B", refused=(math.nan, math.inf), bound=False)},
    estimate,
)
entry(estimates.share_read, {"classifier": JUDGES, "images": UNIT, "labels": BOUND_LABELS}, share)
entry(evaluation.accuracy, {"classifier": JUDGES, "split": SPLITS}, share)


def is_scores(result: Any, given: Arguments) -> bool:
    shares = (result.read_sampled, result.read_mean, result.read_original, result.read_unfilled)
    errors = [result.squared_error[count] for count in sorted(given["completions"])]
    return (
        all(share(part, given) for part in shares)
        and errors == sorted(errors, reverse=True)
        and 0 <= result.spread <= 0.5
    )


entry(
    evaluation.hole_scores,
    {
        "model": FILLS,
        "classifier": JUDGES,
        "split": SPLITS,
        "mask": HIDING,
        "completions": wholes(1, 4),
        "seed": SEED,
    },
    is_scores,
)
entry(
    evaluation.elbo,
    MEASURED,
    lambda result, given: abs(result.negative_elbo - result.reconstruction - result.kl) < 1e-3,
)
ESTIMATES = wholes(1, 4)
POWERS = Kind(
    lambda batch: st.lists(one_of(1, 2, 4), min_size=1, max_size=3),
    lambda batch: [*ESTIMATES.bad(batch), [2, 3], (3, 10)],
)


def is_estimates(result: Any, given: Arguments) -> bool:
    return set(result) == set(given["samples"]) and all(estimate(e, given) for e in result.values())


entry(
    evaluation.negative_log_likelihood,
    {"model": VAE_KIND, "split": SPLITS, "samples": POWERS, "seed": SEED},
    is_estimates,
)
entry(
    evaluation.hole_nll,
    FILLED | {"samples": POWERS, "seed": SEED, "proposal": choice("recognition", "prior")},
    is_estimates,
)
entry(evaluation.reconstruction_error, {"model": VAE_KIND, "split": SPLITS}, estimate)
entry(
    evaluation.measure,
    {
        "model": thing(*VAES, *GANS, FILLERS[0], JUDGE, also=(None,)),
        "test": SPLITS,
        "seed": SEED,
        "importance_samples": Kind(
            lambda batch: st.none() | st.integers(0, 3), refused("3", 2.0, True, -1, [], "")
        ),
        "mask": choice(*masks.SOURCES),
        "reference": thing(None),
    },
    lambda result, given: all(isinstance(value, float) for value in result.values()),
    slow=True,
)
entry(
    evaluation.parameters,
    {"model": thing(*VAES, JUDGE, also=(None,))},
    lambda result, given: result > 0,
)
ENTRIES[-1].kinds["model"] = Kind(ENTRIES[-1].kinds["model"].good, refused(None, 3, "vae", VAE))
entry(
    evaluation.drawing_time,
    {"model": DRAWS, "repeats": whole(1, 2)},
    lambda result, given: result > 0,
    slow=True,
)
COMPARED = pd.DataFrame(
    {name: [0.5, math.nan] for name in report.SHOWN},
    index=pd.Index(["vae", report.REAL_TEST], name="model"),
)
TABLE = Kind(
    constant(COMPARED),
    refused(
        None,
        "table",
        3,
        [],
        {"a": 1},
        COMPARED.to_numpy(),
        COMPARED["nll"],
        COMPARED.drop(columns="nll"),
        COMPARED.astype(str),
        COMPARED[[]],
        pd.DataFrame(),
    ),
)
entry(evaluation.readable, {"compared": TABLE}, lambda result, given: len(result) == 2)
entry(
    evaluation.models_in,
    {"compared": Kind(TABLE.good, refused(None, "table", 3, [], {"a": 1}, COMPARED.to_numpy()))},
    lambda result, given: result == ["vae"],
)
entry(
    evaluation.sample_labels,
    {"model": DRAWS, "per_label": whole(1, 3), "seed": SEED},
    lambda result, given: (
        len(result[0]) == 10 * given["per_label"]
        and result[1].bincount().tolist() == [given["per_label"]] * 10
    ),
)
entry(
    evaluation.label_faithfulness,
    {"model": DRAWS, "classifier": JUDGES, "per_label": whole(1, 2), "seed": SEED},
    share,
)
entry(evaluation.features, {"judge": JUDGES, "images": UNIT}, fits("B", 128))
WIDTH = 4
FEATURES = floats("B", WIDTH, refused=(math.nan, math.inf, 1e35), bound=False)
LIKE_REAL = Kind(
    FEATURES.good,
    lambda batch: [
        *FEATURES.bad(batch),
        torch.ones(4, 3),
        torch.ones(4, WIDTH).double(),
        torch.ones(1, WIDTH),
    ],
)
entry(
    evaluation.frechet_distance,
    {"real": FEATURES, "drawn": LIKE_REAL},
    lambda result, given: 0 <= result < math.inf,
    sizes=(2, 6),
)
entry(
    evaluation.neighbourhoods, {"real": FEATURES, "k": whole(1, 3)}, fits("B", low=0), sizes=(4, 6)
)
entry(
    evaluation.neighbourhoods,
    {"real": Kind(FEATURES.good, refused(torch.ones(3, WIDTH)))},
    fits("B", low=0),
    lambda real: evaluation.neighbourhoods(real, 3),
    variant="few",
    sizes=(4, 6),
)
RADII = Kind(
    lambda batch: floats("B").good(batch).map(torch.abs),
    lambda batch: floats("B", refused=(math.nan, math.inf, -0.1)).bad(batch),
)
entry(
    evaluation.density_and_coverage,
    {"real": FEATURES, "radii": RADII, "drawn": LIKE_REAL, "k": whole(1, 9)},
    lambda result, given: (
        fits("B", low=0)(result.density, given) and result.covered.dtype == torch.bool
    ),
    sizes=(2, 6),
)
PIXELS = floats("B", 28, 28, refused=(math.nan, math.inf), bound=False)
entry(
    evaluation.nearest,
    {
        "images": PIXELS,
        "among": Kind(SEEN.good, lambda batch: PIXELS.bad(batch) + other_precision(batch)),
    },
    lambda result, given: (
        fits("B", low=0)(result.distance, given)
        and int(result.position.max()) < len(given["among"])
    ),
)
entry(
    evaluation.Reference,
    {"judge": JUDGES, "train": SPLITS, "test": SPLITS},
    lambda result, given: result.test is given["test"],
)
REFERENCE = evaluation.Reference(JUDGE, split_of(20), BIG)


def is_sample_scores(result: Any, given: Arguments) -> bool:
    return all(math.isfinite(value) for value in report.sample_figures(result).values())


TWENTY = Kind(
    lambda batch: st.permutations(range(10)).map(lambda order: torch.tensor(order).repeat(2)),
    lambda batch: [*no_labels(20), torch.zeros(20, dtype=torch.int64)],
)
entry(
    evaluation.Reference.scores,
    {"images": UNIT, "labels": TWENTY},
    is_sample_scores,
    REFERENCE.scores,
    sizes=(20,),
    slow=True,
)
SCORES = REFERENCE.scores(torch.rand(20, 28, 28), torch.arange(10).repeat(2))
entry(
    report.sample_figures,
    {"scores": thing(SCORES, also=(None, tuple(SCORES)))},
    lambda result, given: len(result) > 10,
)
entry(
    samples.bootstrap,
    {
        "statistic": Kind(constant(lambda part: float(part.mean())), refused(None, 3, "mean")),
        "examples": Kind(
            floats("B", 2).good, refused(None, 3, "x", [1.0], torch.zeros(()), torch.zeros(0, 2))
        ),
        "labels": BOUND_LABELS,
        "num_classes": TEN,
        "seed": SEED,
    },
    estimate,
)
entry(
    samples.some_of_each_label,
    {"labels": LABELS, "count": whole(1, 3), "num_classes": TEN, "seed": SEED},
    lambda result, given: (
        given["labels"][result].tolist() == sorted(given["labels"][result].tolist())
    ),
)
WITH_INK = Kind(UNIT.good, lambda batch: [*no_unit(batch), torch.zeros(batch, 28, 28)])
entry(
    evaluation.traits,
    {"images": WITH_INK},
    lambda result, given: all(EACH(values, given) for values in result.values()),
)
entry(
    evaluation.effects,
    {
        "model": DRAWS,
        "dimension": whole(0, 2, limit=2),
        "count": whole(2, 3),
        "reach": number(0.1, 3, 0.0, -1),
        "seed": SEED,
    },
    lambda result, given: all(math.isfinite(value) for value in result.values()),
)
entry(
    evaluation.most_used,
    {"model": VAE_KIND, "split": SPLITS, "count": whole(1, 9)},
    lambda result, given: 0 < len(result) <= given["count"],
    slow=True,
)
entry(
    evaluation.seems_to_change,
    {"model": DRAWS, "dimensions": wholes(0, 2, limit=2), "threshold": number(0, 3, -1)},
    lambda result, given: set(result) == set(given["dimensions"]),
    slow=True,
)

# ---------------------------------------------------------------- plotting

ROWS = thing(
    {"a": torch.zeros(2, 28, 28), "b": torch.ones(2, 28, 28).half()},
    also=(
        None,
        {},
        {"a": torch.zeros(2, 28, 28), "b": torch.zeros(1, 28, 28)},
        {"a": None},
        {1: torch.zeros(1, 28, 28)},
        {"a": torch.full((1, 28, 28), 2.0)},
    ),
)
TEXTS = Kind(
    constant((), []),
    refused(None, 3, "ab", "", [1], [None], ["a", "b", "c", "d", "e", "f"], torch.zeros(1)),
)
entry(
    plotting.tile,
    {"images": UNIT, "columns": whole(1, 5), "gap": whole(0, 5)},
    lambda result, given: (
        result.shape[1] == given["columns"] * (28 + given["gap"]) - given["gap"]
        and 0 <= result.min() <= result.max() <= 1
    ),
)
entry(
    plotting.digit_grid,
    {
        "images": UNIT,
        "columns": whole(1, 5),
        "row_labels": TEXTS,
        "title": TITLE,
        "column_labels": TEXTS,
    },
    figure,
    slow=True,
)
entry(
    plotting.compare_rows,
    {"rows": ROWS, "title": TITLE, "column_labels": TEXTS},
    figure,
    slow=True,
)
PANELS = list(plt.subplots(1, 2)[1])
HISTORY = History([{"loss": 1.0, "kl": 2.0, "seconds": 1.0}], planned=2)
entry(
    plotting.learning_curves,
    {
        "history": thing(HISTORY, also=(None, [])),
        "axes": Kind(
            constant(None, PANELS),
            refused(3, "axes", [], PANELS[:1], [*PANELS, PANELS[0]], [None, None], PANELS[0]),
        ),
    },
    lambda result, given: isinstance(result, Figure),
    slow=True,
)
PLANE = floats("B", 2, refused=(math.nan, math.inf), bound=False)
entry(
    plotting.latent_scatter,
    {
        "codes": PLANE,
        "labels": BOUND_LABELS,
        "title": TITLE,
        "names": Kind(
            constant(("a", "b"), ["", ""]), refused(None, "ab", ("a",), ("a", "b", "c"), (1, 2), 3)
        ),
        "classes": NAMES,
    },
    figure,
    slow=True,
)
entry(
    plotting.kl_bars,
    {"per_dimension": floats("B", refused=(math.nan, math.inf), bound=False), "title": TITLE},
    figure,
    slow=True,
)
entry(
    plotting.source,
    {
        "thing": Kind(
            constant(masks.hole, VAE), refused(None, 3, "hole", len, object(), torch.zeros(1))
        )
    },
    lambda result, given: "def " in result.data,
)

# ---------------------------------------------------------------- pictures

DIGIT = whole(0, 9, limit=9)
SHIFT = {0: 0.5, 2: -1.0}
SHIFTS = Kind(
    constant({}, {0: 1}, SHIFT),
    refused(
        None,
        3,
        [0.5],
        "a",
        {3: 1.0},
        {-1: 1.0},
        {True: 1.0},
        {0.5: 1.0},
        {"0": 1.0},
        {0: math.nan},
        {0: math.inf},
        {0: "1"},
        {0: None},
        {0: 10**400},
    ),
)
MANY = whole(1, 4)
EVEN = Kind(constant(2, 4), lambda batch: [*MANY.bad(batch), 1, 3])
GRID = fits("count", 28, 28, low=0, high=1)


def with_state(state: Any, function: Any, *names: str) -> Any:
    """Return a function of a state's fields by name, for one that takes the state."""
    return lambda **given: function(
        state=state(**{name: given.pop(name) for name in names}), **given
    )


def state_kind(*states: Any) -> Kind:
    return Kind(
        constant(*states), refused(None, 3, "state", {}, (0, 0), History(), pictures.ExplorerState)
    )


entry(pictures.check_digit, {"digit": DIGIT}, plain)
IMAGE = whole(0, 0, limit=3)
entry(
    pictures.check_image,
    {"image": IMAGE, "images": UNIT},
    lambda result, given: plain(result, {"image": given["image"]}),
    sizes=(4,),
)
entry(
    pictures.check_even, {"value": EVEN}, plain, lambda value: pictures.check_even("value", value)
)
STROKE_OF: Any = pictures.Stroke  # of anything, which mypy would not let through
STROKES = Kind(
    lambda batch: st.lists(
        st.builds(
            pictures.Stroke,
            one_of(*pictures.TOOLS),
            st.lists(POINTS, min_size=1, max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    refused(
        None,
        3,
        "ink",
        ("ink",),
        [("ink", ((1.0, 2.0),))],
        (STROKE_OF("glue", ((1.0, 1.0),)),),
        (STROKE_OF("ink", ()),),
        (STROKE_OF("ink", None),),
        (STROKE_OF("ink", [(1.0, 2.0)]),),
        (STROKE_OF("ink", ([1.0, 2.0],)),),
        (STROKE_OF("ink", ((1.0, math.nan),)),),
        (STROKE_OF("hide", ((1.0, "2"),)),),
    ),
)
entry(
    pictures.check_strokes,
    {"strokes": Kind(STROKES.good, refused(None, 3, "ink", ("ink",), [("ink", ((1.0, 2.0),))]))},
    nothing,
)
entry(
    pictures.shifted_noise,
    {"latent_dim": whole(3, 3), "count": MANY, "seed": SEED, "shifts": SHIFTS},
    fits("count", "latent_dim"),
)
ENTRIES[-1].kinds["latent_dim"] = Kind(whole(3, 3).good, refused(None, "3", 2.0, True, -1))
EXPLORED = {"digit": DIGIT, "seed": SEED, "shifts": SHIFTS}
entry(
    pictures.explore,
    {"model": DRAWS, "count": MANY} | EXPLORED,
    GRID,
    with_state(pictures.ExplorerState, pictures.explore, *EXPLORED),
)
entry(
    pictures.explore,
    {"model": DRAWS, "state": state_kind(pictures.ExplorerState())},
    fits(20, 28, 28),
    variant="state",
)
STYLE = {"digit": Kind(constant(0, 1, 2), lambda batch: [*DIGIT.bad(batch), 9]), "seed": SEED}
ZEROS_TO_TWO = Kind(lambda batch: st.permutations([0, 0, 1, 2]).map(torch.tensor), no_labels)
entry(
    pictures.restyle,
    {"model": VAE_KIND, "images": UNIT, "labels": ZEROS_TO_TWO, "hands": whole(1, 4)} | STYLE,
    lambda result, given: len(result) % 11 == 0 and 0 <= result.min() <= result.max() <= 1,
    with_state(pictures.StyleState, pictures.restyle, *STYLE),
    sizes=(4,),
)
entry(
    pictures.restyle,
    {"state": state_kind(pictures.StyleState(1))},
    fits(33, 28, 28),
    lambda state: pictures.restyle(VAES[1], torch.rand(60, 28, 28), BIG.labels, state),
    variant="state",
)
MORPH = {"first": DIGIT, "last": DIGIT, "seed": SEED}
entry(
    pictures.morph,
    {
        "model": thing(VAES[1], GANS[1], also=(None, *FILLERS, JUDGE)),
        "columns": whole(2, 4),
        "rows": whole(2, 3),
    }
    | MORPH,
    lambda result, given: fits(given["columns"] * given["rows"], 28, 28, low=0, high=1)(result, {}),
    with_state(pictures.MorphState, pictures.morph, *MORPH),
)
entry(
    pictures.morph,
    {"state": state_kind(pictures.MorphState())},
    fits(55, 28, 28),
    lambda state: pictures.morph(VAES[1], state),
    variant="state",
)
DUEL = {"digit": DIGIT, "seed": SEED, "temperature": number(0.01, 3, 0.0, -1)}
entry(
    pictures.duel,
    {
        "models": thing(
            VAES, (GANS[0],), also=(None, [], VAES[0], [None], [VAES[0], JUDGE], FILLERS, "a")
        ),
        "count": MANY,
    }
    | DUEL,
    lambda result, given: fits(given["count"] * len(given["models"]), 28, 28, low=0, high=1)(
        result, {}
    ),
    with_state(pictures.DuelState, pictures.duel, *DUEL),
)
entry(
    pictures.duel,
    {"state": state_kind(pictures.DuelState())},
    fits(10, 28, 28),
    lambda state: pictures.duel(VAES[:1], state),
    variant="state",
)
PIXEL_ROWS = Kind(
    lambda batch: unit(1, FLOATS).map(lambda x: x[0]),
    lambda batch: [
        *(v for v in no_unit(2) if not isinstance(v, Tensor) or v.ndim != 2),
        torch.full((28, 28), 2.0),
        torch.zeros(28),
    ],
)
entry(
    pictures.complete,
    {
        "model": FILLS,
        "image": PIXEL_ROWS,
        "mask": ONE_MASK,
        "seed": SEED,
        "shifts": SHIFTS,
        "count": MANY,
    },
    GRID,
)
entry(pictures.spread, {"images": UNIT}, fits(28, 28, low=0, high=1.01))
HOLE = {
    "image": IMAGE,
    "top": anywhere(),
    "left": anywhere(),
    "size": whole(0, 30),
    "seed": SEED,
    "shifts": SHIFTS,
}
entry(
    pictures.fill,
    {"model": FILLS, "images": UNIT, "count": EVEN} | HOLE,
    lambda result, given: fits(4 + given["count"], 28, 28, low=0, high=1.01)(result, {}),
    with_state(pictures.HoleState, pictures.fill, *HOLE),
    sizes=(4,),
)
entry(
    pictures.fill,
    {"state": state_kind(pictures.HoleState())},
    fits(14, 28, 28),
    lambda state: pictures.fill(FILLERS[0], torch.rand(2, 28, 28), state),
    variant="state",
)
TWO = [torch.zeros(28, 28)] * 2
entry(
    pictures.two_rows,
    {
        "before": Kind(
            constant((), TWO),
            refused(None, 3, TWO[:1], [None, None], [torch.zeros(3)] * 2, torch.zeros(2, 28, 28)),
        ),
        "completions": Kind(UNIT.good, lambda batch: [*no_unit(batch), torch.zeros(3, 28, 28)]),
    },
    lambda result, given: len(result) == len(given["before"]) + len(given["completions"]) + 2,
    sizes=(2, 4),
)
PAGE = {
    "image": Kind(lambda batch: st.none() | st.just(0), lambda batch: IMAGE.bad(batch)[1:]),
    "strokes": STROKES,
}
entry(
    pictures.page,
    {"images": UNIT} | PAGE,
    lambda result, given: (
        is_mask(result[1], given) and 0 <= result[0].min() <= result[0].max() <= 1
    ),
    lambda images, image, strokes: pictures.page(images, pictures.DrawingState(image, strokes)),
    sizes=(4,),
)
entry(
    pictures.page,
    {"state": state_kind(pictures.DrawingState())},
    lambda result, given: True,
    lambda state: pictures.page(torch.rand(2, 28, 28), state),
    variant="state",
)
PAGE |= {"seed": SEED}


def with_settings(text: str) -> bytes:
    """Return a PNG that carries this text where an app's picture carries its state."""
    notes, file = PngInfo(), io.BytesIO()
    notes.add_text("settings", text)
    Image.new("L", (1, 1)).save(file, "PNG", pnginfo=notes)
    return file.getvalue()


entry(
    pictures.fill_page,
    {"model": FILLS, "images": UNIT, "count": EVEN} | PAGE,
    lambda result, given: fits(2 + given["count"], 28, 28, low=0, high=1.01)(result, {}),
    with_state(pictures.DrawingState, pictures.fill_page, *PAGE),
    sizes=(4,),
)
TENSOR_SHIFTS: Any = {0: torch.zeros(1)}
STATES = (
    pictures.ExplorerState(7, 3, {0: 1.5, 11: -0.1}),
    pictures.StyleState(2, 10**9),
    pictures.MorphState(0, 9, 4),
    pictures.DuelState(4, 1, 0.3),
    pictures.HoleState(1, -3, 20, 7, 2, {1: 2.0}),
    pictures.DrawingState(None, (pictures.Stroke("ink", ((0.5, 1.0), (2.0, -3.25))),), 6),
    pictures.DrawingState(3),
)
entry(
    pictures.png,
    {
        "images": UNIT,
        "columns": whole(1, 4),
        "zoom": whole(1, 3),
        "state": Kind(
            constant(None, *STATES),
            refused(3, "a", {"digit": 3}, pictures.ExplorerState(shifts=TENSOR_SHIFTS)),
        ),
    },
    lambda result, given: (
        result.startswith(b"\x89PNG")
        and (given["state"] is None or pictures.saved_state(result) == given["state"])
    ),
)
A_PICTURE = pictures.png(torch.zeros(1, 28, 28), 1, state=STATES[0])
entry(
    pictures.saved_state,
    {
        "picture": Kind(
            constant(A_PICTURE),
            refused(
                None, 3, io.BytesIO(A_PICTURE), b"", b"\x89PNG", A_PICTURE[:60],
                pictures.png(torch.zeros(1, 28, 28), 1),
                A_PICTURE.replace(b"settings", b"sittings"),
                *(with_settings(text) for text in (
                    "", "3", "[]", "{}", '{"state": "Split"}', '{"state": "ExplorerState", "a": 1}',
                    '{"state": "ExplorerState", "shifts": [1]}',
                    '{"state": "ExplorerState", "shifts": {"a": 1}}',
                    '{"state": "DrawingState", "strokes": 3}',
                    '{"state": "DrawingState", "strokes": [["ink", [[1]]]]}',
                )),
            ),
        )
    },
    lambda result, given: result == STATES[0],
)  # fmt: skip


# ---------------------------------------------------------------- the tests

# An argument that is part of another, or that a message calls otherwise: what it may say.
ALSO_CALLED = {"mu": "logvar", "size": "height", "strokes": "tool|stroke", "logits": "x"}

# Public names below cvae_utils that are not in the table, and why.
INNER = "a network that is reached through its model, which has checked"
RECORD = "what the library returns"
PER_STEP = "inner step of a model, on what check_x and check_given let through"
EXCEPTIONS = {
    "data.Original*": "a record of the library",
    "data.Dataset*": RECORD,
    "data.Split.to": "torch's own devices",
    "data.default_root": "no arguments",
    "data.load": "files and the network: test_data.py",
    "models.base.at_rest": "around a model that has been checked",
    "models.base.one_hot_labels": PER_STEP,
    "models.*.condition": PER_STEP,
    "models.*.counted": PER_STEP,
    "models.*.paint": PER_STEP,
    "models.*Net*": INNER,
    "models.*.forward": INNER,
    "models.mlp.*": INNER,
    "models.conv_cvae.label_planes": INNER,
    "models.conv_cvae.Residual*": INNER,
    "models.conv_cvae.ConvGaussian*": INNER,
    "models.inpainting_cvae.EmptyCode*": INNER,
    "models.label_cvae.LabelBlind*": INNER,
    "models.gan.Discriminator*": INNER,
    "models.gaussian.Gaussian.std": "no arguments",
    "models.gaussian.Gaussian.float32": "no arguments",
    "objectives.ElboTerms*": RECORD,
    "evaluation.chunks.beside": "of a model that has been checked",
    "evaluation.chunks.chunks": "of a model that has been checked",
    "evaluation.chunks.device_of": "of a model that has been checked",
    "evaluation.report.compare": "loads the shipped weights: test_cli.py",
    "evaluation.report.recorded_holes": "no arguments",
    "evaluation.samples.Reference.*": "no arguments",
    "widgets.pictures.*State": "a record; what draws it is tried with each of its fields",
    "plotting.LiveCurves*": "called by the training loop: test_plotting.py",
}
MODULES = [checks, data, masks, models, objectives, plotting, pictures] + [
    importlib.import_module(f"cvae_utils.{room}.{path.stem}")
    for room, package in {"models": models, "evaluation": evaluation}.items()
    for path in sorted(Path(package.__path__[0]).glob("[a-z]*.py"))
]


def count_cases(examples: int, strategy: Strategy, tried: Callable[[Any], int]) -> int:
    """Run `tried` on examples of the strategy; return how many cases it says it has tried."""
    cases = 0

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(example: Any) -> None:
        nonlocal cases
        cases += tried(example)

    run()
    return cases


def valid(entry: Entry, batch: int) -> Strategy:
    return st.fixed_dictionaries({name: kind.good(batch) for name, kind in entry.kinds.items()})


@pytest.mark.reliability(
    "input",
    "every public function of checks, data, masks, models, objectives, evaluation, plotting and "
    "pictures, valid arguments of every kind, size and dtype",
    "the right shape, dtype and range, and nothing that is not finite",
)
@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_valid_arguments_give_what_is_promised(
    entry: Entry, record_property: Callable[[str, Any], None]
) -> None:
    def tried(given: Arguments) -> int:
        result = entry.call(**given)
        assert entry.promise(result, given)
        return 1

    strategy = st.sampled_from(entry.sizes).flatmap(functools.partial(valid, entry))
    examples = SLOW_EXAMPLES if entry.slow else VALID_EXAMPLES
    record_property("cases", count_cases(examples, strategy, tried))


@pytest.mark.reliability(
    "input",
    "every argument of the same functions: another type, dtype, shape, size, range, precision, "
    "layout, device, NaN, nothing at all",
    "a TypeError or ValueError that names the argument",
)
@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_an_invalid_argument_is_named(
    entry: Entry, record_property: Callable[[str, Any], None]
) -> None:
    def tried(example: tuple[int, Arguments]) -> int:
        batch, given = example
        wrong = [(name, value) for name, kind in entry.kinds.items() for value in kind.bad(batch)]
        for name, value in wrong:
            called = f"({'|'.join(filter(None, (name, ALSO_CALLED.get(name))))})"
            try:
                result = entry.call(**given | {name: value})
            except (TypeError, ValueError) as error:
                if re.search(rf"\b{called}\b[^;]* must ", str(error)):
                    continue
                raise AssertionError(f"{name} = {value!r}, but the message: {error}") from error
            except Exception as error:
                raise AssertionError(f"{name} = {value!r} raised {error!r}") from error
            raise AssertionError(f"{name} = {value!r} went through: {result!r}")
        return len(wrong)

    strategy = st.sampled_from(entry.sizes).flatmap(
        lambda batch: st.tuples(st.just(batch), valid(entry, batch))
    )
    record_property("cases", count_cases(INVALID_EXAMPLES, strategy, tried))


ELSEWHERE: dict[str, Callable[[Any], Any]] = {
    "x": lambda move: move(JUDGE).read(torch.zeros(2, 28, 28)),
    "labels": lambda move: move(VAES[1]).sample(torch.arange(2)),
    "given": lambda move: move(FILLERS[0]).sample(
        masks.hide(torch.zeros(2, 28, 28), masks.half("left"))
    ),
    "generator": lambda move: Gaussian(*move(torch.zeros(2, 2, 3))).sample(torch.Generator()),
}


@pytest.mark.reliability(
    "input", "a model on another device than what it is given", "a ValueError that names both"
)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_on_another_device_is_named(name: str) -> None:
    def move(thing: Any) -> Any:  # `meta` is another device wherever the tests run
        return copy.deepcopy(thing).to("meta")

    with pytest.raises(ValueError, match=rf"^{name} must be .*on (meta|cpu)"):
        ELSEWHERE[name](move)


def public_names() -> Iterator[str]:
    """Every public function, class with a constructor, method and property of the modules."""
    for module in MODULES:
        room = module.__name__.removeprefix("cvae_utils.")
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value):
                yield f"{room}.{name}"
            if inspect.isclass(value):
                if not issubclass(value, tuple) and {"__init__", "__post_init__"} & set(
                    vars(value)
                ):
                    yield f"{room}.{name}"
                for part, member in vars(value).items():
                    kinds = (property, functools.cached_property, staticmethod, classmethod)
                    if not part.startswith("_") and (
                        inspect.isfunction(member) or isinstance(member, kinds)
                    ):
                        yield f"{room}.{name}.{part}"


def test_no_public_function_is_forgotten() -> None:
    names, tabled = set(public_names()), {entry.name for entry in ENTRIES}
    assert len(names) > 100
    excepted = {
        pattern: {name for name in names - tabled if fnmatch.fnmatchcase(name, pattern)}
        for pattern in EXCEPTIONS
    }
    assert names - tabled - set().union(*excepted.values()) == set()
    assert [pattern for pattern, found in excepted.items() if not found] == []  # none is stale
    assert [name for name in tabled if name.split(".")[-1][0] != "_" and name not in names] == []
