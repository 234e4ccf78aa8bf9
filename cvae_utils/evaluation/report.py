"""All that can be measured of a model, and the tables that set the models side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, TextIO

import torch
from tqdm import tqdm

from cvae_utils import checkpoints
from cvae_utils.checks import check_at_least, check_choice, check_is, check_seed
from cvae_utils.data import Dataset, Split, to_unit
from cvae_utils.evaluation.chunks import device_of, noise_source
from cvae_utils.evaluation.estimates import accuracy
from cvae_utils.evaluation.holes import hole_scores
from cvae_utils.evaluation.likelihood import (
    elbo,
    hole_nll,
    negative_log_likelihood,
    reconstruction_error,
)
from cvae_utils.evaluation.samples import (
    Reference,
    SampleScores,
    sample_labels,
    some_of_each_label,
)
from cvae_utils.masks import SOURCES
from cvae_utils.models import (
    Classifier,
    ConditionalGenerator,
    ConditionalVAE,
    InpaintingCVAE,
    Model,
)
from cvae_utils.models.base import at_rest, check_model, check_same_classes

if TYPE_CHECKING:
    import pandas as pd

Figures = dict[str, float]
PER_LABEL = 1000  # samples of each label
CODES = 20  # for each image, in the importance-weighted estimate
CODES_OF_A_HOLE = 100  # the literature's number
DRAWN_AT_ONCE = 200  # digits, in the measurement of time


def measure(
    model: Model,
    test: Split,
    seed: int = 0,
    importance_samples: int | None = None,
    mask: str = "centre",
    reference: Reference | None = None,
) -> Figures:
    """Measure all that can be measured of a model on a test split, rounded to 4 places.

    Args:
        model: any model of the series.
        test: uint8 images and labels.
        seed: of binarization, codes and samples.
        importance_samples: codes per image for the negative log-likelihood; 0 leaves it out, None
            is 20. An inpainting model, which has little else to show, takes 100 for either.
        mask: what an inpainting model does not see; `"mixed"` measures all others.
        reference: without one, what needs a judge is left out.

    Raises:
        ValueError: an argument out of range, or a model, a split and a reference of different
            numbers of classes.
    """
    check_is("model", model, (Classifier, ConditionalGenerator))
    check_is("test", test, Split)
    seed = check_seed("seed", seed)
    if importance_samples is not None:
        importance_samples = check_at_least("importance_samples", importance_samples, 0)
    check_choice("mask", mask, tuple(SOURCES))
    check_is("reference", reference, (Reference, type(None)))
    check_same_classes("test", test.num_classes, model)
    if reference:
        check_same_classes("reference", reference.num_classes, model)
    figures: Figures = {}
    if isinstance(model, Classifier):
        figures["accuracy"] = accuracy(model, test).value
    elif isinstance(model, InpaintingCVAE):
        for name in [mask] if mask != "mixed" else [name for name in SOURCES if name != mask]:
            figures |= _hole_figures(model, test, seed, importance_samples, name, reference)
    else:
        if isinstance(model, ConditionalVAE):
            figures |= _likelihood_figures(model, test, seed, importance_samples)
        if reference:
            scores = reference.scores(*sample_labels(model, PER_LABEL, seed))
            figures |= sample_figures(scores)
    return {name: round(value, 4) for name, value in figures.items()}


def _likelihood_figures(
    model: ConditionalVAE, test: Split, seed: int, importance_samples: int | None
) -> Figures:
    count = CODES if importance_samples is None else importance_samples
    figures = elbo(model, test, seed)._asdict()
    figures["squared_error"], figures["squared_error_error"] = reconstruction_error(model, test)
    if count:
        figures["nll"], figures["nll_error"] = negative_log_likelihood(model, test, [count], seed)[
            count
        ]
    return figures


def _hole_figures(
    model: InpaintingCVAE,
    test: Split,
    seed: int,
    importance_samples: int | None,
    mask: str,
    reference: Reference | None,
) -> Figures:
    hidden = SOURCES[mask](1, torch.Generator())[0]
    # A plain network has one answer.
    count = importance_samples or CODES_OF_A_HOLE if model.latent_dim else 1
    # One sample's bound is the ELBO.
    estimates = hole_nll(model, test, hidden, (1, count), seed)
    figures = {f"negative_elbo_{mask}": estimates[1].value}
    figures[f"nll_{mask}"], figures[f"nll_{mask}_error"] = estimates[count]
    by_prior = hole_nll(model, test, hidden, (count,), seed, "prior")
    figures[f"nll_prior_{mask}"] = by_prior[count].value
    if reference:
        scores = hole_scores(model, reference.judge, test, hidden, seed=seed)
        for number, error in scores.squared_error.items():
            figures[f"best_of_{number}_{mask}"] = error
        figures[f"spread_{mask}"] = scores.spread
        for what in ("sampled", "mean", "original", "unfilled"):
            figures[f"read_{what}_{mask}"] = getattr(scores, f"read_{what}").value
    return figures


def sample_figures(scores: SampleScores) -> Figures:
    """Return scores as named numbers, each share with its interval and the rest with its error."""
    check_is("scores", scores, SampleScores)
    figures: Figures = {}
    for name in SHARES:
        share = getattr(scores, name)
        figures[name], figures[f"{name}_low"], figures[f"{name}_high"] = share
    for name in ("frechet", "density"):
        figures[name], figures[f"{name}_error"] = getattr(scores, name)
    figures["frechet_per_label"] = scores.frechet_per_label.mean().item()
    figures["nearest"] = scores.nearest
    return figures


def parameters(model: torch.nn.Module) -> int:
    """Return how many numbers a model has learned."""
    check_is("model", model, torch.nn.Module)
    return sum(weights.numel() for weights in model.parameters())


@torch.no_grad()
def drawing_time(model: ConditionalGenerator, repeats: int = 5) -> float:
    """Return the milliseconds that 200 digits take, the median of some repeats on this machine."""
    check_model("model", model, ConditionalGenerator)
    repeats = check_at_least("repeats", repeats, 1)
    device = device_of(model)
    noise = noise_source(device, 0)
    labels = torch.arange(DRAWN_AT_ONCE, device=device) % model.num_classes
    times = []
    with at_rest(model):
        for _ in range(repeats + 1):
            start = time.perf_counter()
            model.sample(labels, noise).cpu()  # the copy waits for a GPU
            times.append(time.perf_counter() - start)
    return 1000 * median(times[1:])  # the first call warms up


# What is compared, in the order of the table, with its title.
COMPARED = {
    "vae": "VAE",
    "vae_z20": "smaller VAE, code of 20",
    "label_cvae_blind": "CVAE, blind recognition",
    "label_cvae": "label CVAE",
    "label_cvae_z20": "label CVAE, code of 20",
    "conv_cvae": "conv CVAE",
    "gan": "GAN",
    "cgan": "conditional GAN",
}
# The weights behind the table of holes.
OF_HOLES = (
    *(f"inpainting_{mask.replace('-', '_')}{kind}" for mask in SOURCES if mask != "mixed"
      for kind in ("", "_plain")),
    "inpainting_mixed",
)  # fmt: skip
SHARES = ("faithfulness", "coverage", "coverage_any_label")  # of which `sample_figures` has limits
SHOWN = (  # the columns that `readable` reads
    "negative_elbo", "standard_error", "nll", "nll_error", "squared_error", "squared_error_error",
    *(f"{name}{end}" for name in SHARES for end in ("", "_low", "_high")),
    "frechet", "frechet_error", "frechet_per_label", "density", "density_error", "nearest",
    "parameters", "training_minutes", "drawing_ms",
)  # fmt: skip
REAL_TRAIN, REAL_TEST = "real training digits", "real test digits"


def compare(
    reference: Reference,
    dataset: Dataset,
    seed: int = 0,
    importance_samples: int | None = None,
    device: torch.device | str = "cpu",
    progress: TextIO | None = None,
) -> pd.DataFrame:
    """Measure every model of `COMPARED`, and real digits for orientation.

    Args:
        reference: the judge and the real digits.
        dataset: whose test split is measured, and whose weights.
        seed: see `measure`.
        importance_samples: see `measure`.
        device: where the models compute.
        progress: where a progress bar is written, if anywhere.

    Returns:
        A row for each model of `COMPARED` and two of real digits; a column for each figure, empty
        where a model has no such thing. `readable` makes it fit to print.
    """
    import pandas as pd  # slow to import, and rarely needed

    rows: dict[str, Figures] = {}
    for name in tqdm(COMPARED, disable=progress is None, unit="model", file=progress):
        loaded, provenance = checkpoints.load(name, device, dataset.name)
        figures = measure(loaded, dataset.test, seed, importance_samples, reference=reference)
        figures["parameters"] = parameters(loaded)
        figures["training_minutes"] = provenance.training.get("seconds", math.nan) / 60
        figures["drawing_ms"] = drawing_time(checkpoints.load_generator(name, device, dataset.name))
        rows[name] = figures
    train, test = dataset.train, dataset.test
    some = some_of_each_label(train.labels, PER_LABEL, train.num_classes, seed)
    scores = {
        REAL_TRAIN: reference.scores(to_unit(train.images[some]), train.labels[some]),
        REAL_TEST: reference.scores(to_unit(test.images), test.labels),
    }
    rows |= {name: sample_figures(scored) for name, scored in scores.items()}
    compared = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model").round(4)
    left_out = [name for name in SHOWN if name not in compared]  # without codes, say
    return compared.reindex(columns=[*compared, *left_out])


def models_in(compared: pd.DataFrame) -> list[str]:
    """Return the rows of `compare` that are models: all but the real digits."""
    _check_compared(compared, ())
    return [name for name in compared.index if name not in (REAL_TRAIN, REAL_TEST)]


def readable(compared: pd.DataFrame) -> pd.DataFrame:
    """Return what `compare` returned as text, rounded to what its intervals allow.

    The same for the page, the notebook and the command line.
    """
    import pandas as pd

    _check_compared(compared, SHOWN)
    titles = [COMPARED.get(name, name) for name in compared.index]
    columns = {
        "weights": [name if name in models_in(compared) else "" for name in compared.index],
        "−ELBO": _plus_minus(compared, "negative_elbo", "standard_error", 1),
        "−log p": _plus_minus(compared, "nll", "nll_error", 1),
        "squared error": _plus_minus(compared, "squared_error", "squared_error_error", 1),
        "read as asked": _interval(compared, "faithfulness"),
        "Fréchet": _plus_minus(compared, "frechet", "frechet_error", 1),
        "Fréchet per label": _plus_minus(compared, "frechet_per_label", None, 1),
        "density": _plus_minus(compared, "density", "density_error", 2),
        "coverage": _interval(compared, "coverage"),
        "coverage, any label": _interval(compared, "coverage_any_label"),
        "nearest": _plus_minus(compared, "nearest", None, 2),
        "parameters": _plus_minus(compared, "parameters", None, 0),
        "training, min": _plus_minus(compared, "training_minutes", None, 0),
        "200 digits, ms": _plus_minus(compared, "drawing_ms", None, 0),
    }
    return pd.DataFrame(columns, index=pd.Index(titles, name="model"))


def _check_compared(compared: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise unless `compared` is a table as `compare` returns it, with numbers in these columns."""
    import pandas as pd

    wanted = "a table as `compare` returns it"
    check_is("compared", compared, pd.DataFrame, wanted)
    for name in columns:
        if name not in compared or not pd.api.types.is_numeric_dtype(compared[name]):
            raise ValueError(f"compared must be {wanted}, got one without numbers for {name!r}")


def _plus_minus(figures: pd.DataFrame, name: str, error: str | None, places: int) -> list[str]:
    """Write each figure with its 95 % interval, plus or minus two standard errors."""
    cells = []
    for _, row in figures.iterrows():
        cell = "" if math.isnan(row[name]) else f"{row[name]:,.{places}f}"
        if cell and error:
            cell += f" ± {2 * row[error]:.{places}f}"
        cells.append(cell)
    return cells


def _interval(figures: pd.DataFrame, name: str) -> list[str]:
    cells = []
    for _, row in figures.iterrows():
        value, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
        cells.append("" if math.isnan(value) else f"{value:.1f} % ({low:.1f} to {high:.1f})")
    return cells


def recorded_holes(trained_on: str = checkpoints.SHIPPED) -> pd.DataFrame:
    """Return the figures of the inpainting models, as measured after their training.

    `python -m cvae_utils evaluate inpainting_centre` and so on measure them again, which takes
    minutes each.

    Args:
        trained_on: the data set whose models are wanted.

    Returns:
        A row for each mask; columns for the plain network, three estimates of the CVAE's cost,
        and the one model of all masks, in nats per image. The shipped ones are from 100 codes.

    Raises:
        CheckpointError: as `checkpoints.load`, or weights without a figure of the table.
    """
    import pandas as pd

    recorded = {name: checkpoints.load(name, trained_on=trained_on)[1].metrics for name in OF_HOLES}

    def figure(name: str, what: str) -> float:
        if what not in recorded[name]:
            raise checkpoints.CheckpointError(
                f"{name} must have {what} among its recorded figures, as `python -m cvae_utils "
                f"train` leaves it, got {', '.join(sorted(recorded[name])) or 'none'}"
            )
        return recorded[name][what]

    rows = {}
    for mask in (name for name in SOURCES if name != "mixed"):
        name = f"inpainting_{mask.replace('-', '_')}"
        rows[mask] = {
            "plain network": figure(f"{name}_plain", f"nll_{mask}"),
            "−ELBO": figure(name, f"negative_elbo_{mask}"),
            "codes from the prior": figure(name, f"nll_prior_{mask}"),
            "codes from q": figure(name, f"nll_{mask}"),
            "one CVAE for all masks": figure("inpainting_mixed", f"nll_{mask}"),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("mask")
