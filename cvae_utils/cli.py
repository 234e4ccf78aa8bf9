"""`python -m cvae_utils`: train, prepare, sample, inpaint, evaluate; no screen is needed."""

from __future__ import annotations

import argparse
import inspect
import io
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cvae_utils import checkpoints, data, distributed, evaluation, masks, objectives, training
from cvae_utils.checks import (
    check_at_least,
    check_choice,
    check_number,
    check_positive,
    check_seed,
)
from cvae_utils.files import write_whole
from cvae_utils.graphs import check_recordable
from cvae_utils.models import (
    GAN,
    MODELS,
    Classifier,
    ConditionalVAE,
    InpaintingCVAE,
    Model,
    build,
)
from cvae_utils.models.label_cvae import LABEL_IN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

IMPORTANCE_SAMPLES = (
    "codes per image for the negative log-likelihood: 500 take minutes, 0 leaves it out; "
    "an inpainting_cvae, which has little else to show, takes 100 for 0"
)
JUDGE = "classifier of the same data that reads samples"
# Options that only some models have: whose they are, and what they are when left out.
OF_SOME: dict[str, tuple[type[torch.nn.Module], Any]] = {
    "mask": (InpaintingCVAE, "centre"),
    "penalty": (GAN, 0.1),
    "judge": (GAN, "classifier"),
    "importance_samples": (ConditionalVAE, 0),
}
OTHERS = tuple(name for name in data.NAMES if name != checkpoints.SHIPPED)
EFFORT = 0.1  # of the epochs: minutes in place of an hour, and good enough to look at
FEW_CODES = 10  # for each image: MNIST's 100 and 500 would take longer than a tenth of the epochs
MASK = "which pixels are hidden; quadrants-N leaves N of the four visible"
MOST_SHOWN = 1000  # digits in a row or column: twice as many are more than matplotlib can draw
AT_MOST = f"at most {MOST_SHOWN}"
INTERRUPTED = 130  # the exit code that shells use for Ctrl-C


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says what an option is when it is left out, where it is something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        said = action.default not in (None, []) and action.default is not False  # 0 is something
        return super()._get_help_string(action) if said else action.help


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = argparse.ArgumentParser(
        prog="python -m cvae_utils",
        description="Train, prepare, sample, inpaint and evaluate, for the notebook series.",
    )
    commands = root.add_subparsers(dest="command", required=True)

    train = commands.add_parser(
        "train", help="train a model, measure it, write its checkpoint", formatter_class=_Help
    )
    train.add_argument("model", choices=sorted(MODELS), help="what is trained")
    train.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    train.add_argument("--data", choices=data.NAMES, default="mnist", help="what it learns from")
    train.add_argument("--epochs", type=int, default=10, help="passes over the training split")
    train.add_argument("--batch-size", type=int, default=128, help="examples in a step")
    train.add_argument("--max-learning-rate", type=float, default=2e-3, help="top of the cycle")
    train.add_argument("--seed", type=int, default=0, help="of weights, order and noise")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    train.add_argument(
        "--precision", choices=training.PRECISIONS, default="float32", help="of matrix products"
    )
    train.add_argument(
        "--cuda-graph", action="store_true", help="record a step on the GPU once, and replay it"
    )
    train.add_argument(
        "--half", action="store_true",
        help="round the trained weights to 16 bits: half the file, and measured as rounded",
    )  # fmt: skip
    train.add_argument(
        "--resume", action="store_true",
        help="go on with the unfinished run that OUT.run holds, as if it had not been stopped",
    )  # fmt: skip
    # Left out, these take the model's own defaults; a model that has none refuses them.
    suppress: dict[str, Any] = {"default": argparse.SUPPRESS}
    own = {name: f"(default: {default})" for name, (_, default) in OF_SOME.items()}
    train.add_argument(
        "--mask", choices=tuple(masks.SOURCES),
        help=f"of an inpainting_cvae, {MASK} {own['mask']}", **suppress,
    )  # fmt: skip
    train.add_argument(
        "--penalty", type=float,
        help=f"on a gan's or cgan's discriminator, R1 {own['penalty']}", **suppress,
    )  # fmt: skip
    train.add_argument("--judge", help=f"of a gan or cgan, a {JUDGE} {own['judge']}", **suppress)
    train.add_argument(
        "--importance-samples", type=int, metavar="K",
        help=f"{IMPORTANCE_SAMPLES} {own['importance_samples']}", **suppress,
    )  # fmt: skip
    train.add_argument("--width", type=int, help="hidden units, or channels", **suppress)
    train.add_argument(
        "--hidden", type=int, help="units of a conv model's dense layers", **suppress
    )
    train.add_argument("--latent-dim", type=int, help="numbers in a code", **suppress)
    train.add_argument("--label-in", choices=LABEL_IN, help="who sees the label", **suppress)
    train.set_defaults(run=_train)

    others = commands.add_parser(
        "prepare", help="train the weights of another data set", formatter_class=_Help
    )
    others.add_argument("data", choices=OTHERS, help="what they learn from")
    others.add_argument("weights", nargs="*", help="which, by name; all that are shipped if none")
    others.add_argument("--effort", type=float, default=EFFORT, help="share of MNIST's epochs")
    others.set_defaults(run=_prepare)

    sample = commands.add_parser(
        "sample", help="draw a row of images per class to a PNG", formatter_class=_Help
    )
    sample.add_argument("checkpoint", help="a file, or the name of shipped weights")
    sample.add_argument("--out", type=Path, required=True, help="PNG to write")
    sample.add_argument("--per-label", type=int, default=20, help=f"images in each row, {AT_MOST}")
    sample.add_argument("--seed", type=int, default=0, help="of the codes")
    sample.set_defaults(run=_sample)

    inpaint = commands.add_parser(
        "inpaint", help="fill holes in test digits, to a PNG", formatter_class=_Help
    )
    inpaint.add_argument("checkpoint", help="a file, or the name of shipped weights")
    inpaint.add_argument("--out", type=Path, required=True, help="PNG to write")
    inpaint.add_argument("--data", choices=data.NAMES, default="mnist", help="whose test digits")
    inpaint.add_argument(
        "--mask", choices=tuple(masks.SOURCES), default=argparse.SUPPRESS,
        help=f"{MASK} (default: as in training)",
    )  # fmt: skip
    inpaint.add_argument(
        "--digits", type=int, default=10, help=f"how many of the test digits, {AT_MOST}"
    )
    inpaint.add_argument(
        "--completions", type=int, default=8, help=f"rows of filled digits, {AT_MOST}"
    )
    inpaint.add_argument("--seed", type=int, default=0, help="of the codes, and of mixed masks")
    inpaint.set_defaults(run=_inpaint)

    evaluate = commands.add_parser(
        "evaluate", help="measure checkpoints on the test digits", formatter_class=_Help
    )
    evaluate.add_argument("checkpoint", nargs="*", help="files, or names of shipped weights")
    evaluate.add_argument(
        "--all", action="store_true",
        help="compare all shipped weights; the inpainting models' figures are the recorded ones",
    )  # fmt: skip
    evaluate.add_argument(
        "--data", choices=data.NAMES, default="mnist", help="measured on its test"
    )
    evaluate.add_argument("--judge", default="classifier", help=JUDGE)
    evaluate.add_argument("--seed", type=int, default=0, help="of binarization, codes and samples")
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    evaluate.add_argument(
        "--importance-samples", type=int, metavar="K", default=argparse.SUPPRESS,
        help=f"{IMPORTANCE_SAMPLES} (default: 20, and 100 for inpainting_cvae)",
    )  # fmt: skip
    evaluate.add_argument(
        "--json", action="store_true", help="print JSON in place of a table; not with --all"
    )
    evaluate.add_argument(
        "--out", type=Path, metavar="FOLDER", default=argparse.SUPPRESS,
        help="where --all writes comparison.csv, comparison.md and holes.csv, holes.md "
        "(default: build)",
    )  # fmt: skip
    evaluate.set_defaults(run=_evaluate)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 1 for an error, 130 after Ctrl-C."""
    options = parser().parse_args(arguments)
    options.words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result: int = options.run(options)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return result


def _train(options: argparse.Namespace) -> int:
    with distributed.joined(options.device) as team:
        return _train_in(team, options)


def _train_in(team: distributed.Crew, options: argparse.Namespace) -> int:
    check_at_least("--epochs", options.epochs, 1)
    check_at_least("--batch-size", options.batch_size, 1)
    check_positive("--max-learning-rate", options.max_learning_rate)
    check_seed("--seed", options.seed)
    config, own = _of_the_model(options)
    samples = own.pop("importance_samples", 0)  # decides what is measured, not the weights
    check_at_least("--importance-samples", samples, 0)
    device = training.pick_device(options.device)
    if options.cuda_graph:
        check_recordable("--cuda-graph", device, team.size)
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.default_generator.manual_seed(options.seed)  # decides the initial weights
        model = build(options.model, **config).to(device)
    _check_out(options.out)
    dataset = data.load(options.data)
    if team.leads:
        print(dataset)
    judge = None
    if "judge" in own:  # all that can be said of a GAN is what its samples are worth
        judge = checkpoints.load_classifier(own.pop("judge"), device, dataset.name)
    chosen: dict[str, Any] = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "max_learning_rate": options.max_learning_rate,
        "seed": options.seed,
        "precision": options.precision,
        "processes": team.size,
    }
    about = {"model": model.name, "config": model.config, "data": dataset.fingerprint}
    about |= chosen | own
    run = options.out.with_name(f"{options.out.name}.run")
    history = _begun(run, about, team, options.resume)
    callbacks: list[training.Callback] = [training.ProgressBar()] if team.leads else []
    if team.size == 1:
        callbacks.append(checkpoints.RunFile(run, about))
    settings = {**chosen, "callbacks": callbacks, "cuda_graph": options.cuda_graph}
    del settings["processes"]
    _fit(model, dataset.train, history, settings, own)
    chosen |= own
    if not team.leads:
        return INTERRUPTED if history.interrupted else 0
    if not history.epochs:
        print(f"no epoch was finished: {options.out} was not written", file=sys.stderr)
        return INTERRUPTED
    if options.half:
        model.half().float()
    reference = evaluation.Reference(judge, dataset.train, dataset.test) if judge else None
    metrics = evaluation.measure(
        model, dataset.test, 0, samples, own.get("mask", "centre"), reference
    )
    several = ["torchrun", f"--nproc-per-node={team.size}"]
    started = several if team.size > 1 else ["python"]
    # To go on or to have begun there gives the same weights.
    words = [word for word in options.words if word != "--resume"]
    provenance = checkpoints.Provenance(
        model=model.name,
        config=model.config,
        command=shlex.join([*started, "-m", "cvae_utils", *words]),
        training=chosen
        | {
            "epochs": len(history.epochs),  # fewer than asked for, after an interrupt
            "seconds": round(sum(history.curve("seconds")), 1),
            "device": str(device),
            "torch": torch.__version__,
        },
        data={
            "name": dataset.name,
            "train": len(dataset.train),
            "test": len(dataset.test),
            "fingerprint": dataset.fingerprint,
        },
        metrics=metrics,
    )
    checkpoints.save(options.out, model, provenance)
    print(json.dumps(metrics))
    print(f"wrote {options.out}")
    if history.interrupted:
        if run.is_file():
            print(f"{run} holds the unfinished run: --resume goes on with it")
        return INTERRUPTED
    run.unlink(missing_ok=True)
    return 0


def _of_the_model(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return its constructor's arguments, and the settings that only this kind of model has.

    Raises:
        ValueError: an option that the model does not have.
    """
    kind = MODELS[options.model]
    config = {}
    for name in ("width", "hidden", "latent_dim", "label_in"):
        if hasattr(options, name):
            config[name] = getattr(options, name)
    own = {}
    for name, (whose, default) in OF_SOME.items():
        if issubclass(kind, whose):
            own[name] = getattr(options, name, default)
    known = {*inspect.signature(kind).parameters, *own}
    for name in (*config, *OF_SOME):
        if hasattr(options, name) and name not in known:
            raise ValueError(f"--{name.replace('_', '-')} must be left out: {kind.name} has none")
    return config, own


def _check_out(out: Path, ending: str = "") -> None:
    """Raise unless a file of that ending can be written there: before anything takes time."""
    if out.is_dir():
        raise ValueError(f"--out must be a file to write, got the folder {out}")
    if not out.name.lower().endswith(ending):  # weights must not become a picture
        raise ValueError(f"--out must be a file to write, got {out}: it must end in {ending}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise ValueError(f"--out must be a file to write, got {out}: {error}") from None


def _begun(
    run: Path, about: dict[str, Any], team: distributed.Crew, resume: bool
) -> training.History:
    """Return the history to go on with, which is a new one unless a run was left unfinished."""
    if team.size > 1:  # each process has random numbers of its own, and only one writes
        if resume:
            raise ValueError(f"--resume must be left out with {team.size} processes")
        return training.History()
    if not run.is_file():
        if resume:
            print(f"{run}, an unfinished run, is not there: this one begins anew")
        return training.History()
    if not resume:
        raise ValueError(
            f"{run} holds an unfinished run: go on with it by --resume, or delete it to begin anew"
        )
    history = checkpoints.load_run(run, about)
    print(f"going on after epoch {len(history.epochs)} of {history.planned}")
    return history


def _fit(
    model: Model,
    train: data.Split,
    history: training.History,
    settings: dict[str, Any],
    own: dict[str, Any],
) -> None:
    """Train each kind of model on what it is for."""
    settings = {**settings, "history": history}
    if isinstance(model, Classifier):
        training.fit(model, objectives.cross_entropy, train, prepare=data.jitter, **settings)
    elif isinstance(model, InpaintingCVAE):
        objective = objectives.inpainting(masks.SOURCES[own["mask"]])
        training.fit(model, objective, train, prepare=data.nudge, **settings)
    elif isinstance(model, GAN):
        game = objectives.adversarial(own["penalty"])
        training.fit(
            model, game, train, prepare=data.grey, momentum=objectives.GAN_MOMENTUM, **settings
        )
    else:
        training.fit(model, objectives.negative_elbo, train, **settings)


def prepare(dataset: str, *names: str, effort: float = EFFORT) -> None:
    """Train the weights that a data set still lacks, by the commands that trained MNIST's.

    They are kept in `checkpoints.folder(dataset)`. For MNIST itself there is nothing to do.

    Args:
        dataset: one of `data.NAMES`.
        names: of shipped weights; the judge of samples is always among them.
        effort: the share of MNIST's epochs, above 0 and at most 1; one epoch is the least.

    Raises:
        ValueError: a name that no shipped weights have, an effort out of range.
        CheckpointError: an unfinished run that began with another effort.
        KeyboardInterrupt: it was stopped; the next call goes on from there.
    """
    check_choice("dataset", dataset, data.NAMES)
    check_positive("effort", effort)
    check_number("effort", effort, least=0, most=1)
    shipped_ones = checkpoints.shipped()
    for name in names:
        check_choice("name", name, shipped_ones)
    if dataset == checkpoints.SHIPPED:
        return
    for name in dict.fromkeys(("classifier", *names)):  # a GAN's training ends before the judge
        _, shipped = checkpoints.load(checkpoints.folder() / f"{name}.safetensors")
        out = checkpoints.folder(dataset) / f"{name}.safetensors"
        unfinished = out.with_name(f"{out.name}.run").is_file()
        if out.is_file() and not unfinished:
            continue
        words = shlex.split(shipped.command)[3:]  # after `python -m cvae_utils`
        most = shipped.training["epochs"]
        epochs = max(1, round(effort * most))
        shown = f"checkpoints/{dataset}/{out.name}"  # not the reader's own folders
        changed = {"--data": dataset, "--out": shown, "--epochs": str(epochs)}
        if "--importance-samples" in words or shipped.model == InpaintingCVAE.name:
            changed["--importance-samples"] = str(FEW_CODES)
        for option, value in changed.items():
            if option in words:
                del words[words.index(option) : words.index(option) + 2]
            words += [option, value]
        print(f"{dataset} has no {name} yet: it learns for {epochs} of MNIST's {most} epochs")
        options = parser().parse_args(words)
        options.resume = unfinished
        options.out, options.words = out, words
        if options.run(options) == INTERRUPTED:
            raise KeyboardInterrupt


def _prepare(options: argparse.Namespace) -> int:
    prepare(options.data, *(options.weights or checkpoints.shipped()), effort=options.effort)
    return 0


def _sample(options: argparse.Namespace) -> int:
    check_at_least("--per-label", options.per_label, 1, MOST_SHOWN)
    check_seed("--seed", options.seed)
    model = checkpoints.load_generator(options.checkpoint)
    _check_out(options.out, ".png")
    classes = _class_names(checkpoints.load(options.checkpoint)[1], model.num_classes)
    images, labels = evaluation.sample_labels(model, options.per_label, options.seed)
    from cvae_utils import plotting  # matplotlib is paid for only where a picture is made

    # A label beyond the classes was never learned, and its images would mean nothing.
    known = images[: len(classes) * options.per_label]
    hears = model.condition(labels).shape[1] > 0
    if not hears:
        print(f"NOTE: a {model.name} hears no label: its rows have no names", file=sys.stderr)
    figure = plotting.digit_grid(known, options.per_label, classes if hears else ())
    _write_picture(figure, options.out)
    return 0


def _class_names(provenance: checkpoints.Provenance, num_classes: int) -> list[str]:
    """Return what a checkpoint calls its labels, else its data set's names, else the numbers."""
    named = provenance.data.get("classes")
    if isinstance(named, list) and 0 < len(named) <= num_classes:
        return [str(name) for name in named]
    original = data.ORIGINALS.get(str(provenance.data.get("name")))
    if original and len(original.classes) == num_classes:
        return list(original.classes)
    return [str(label) for label in range(num_classes)]


def _inpaint(options: argparse.Namespace) -> int:
    check_at_least("--digits", options.digits, 1, MOST_SHOWN)
    check_at_least("--completions", options.completions, 1, MOST_SHOWN)
    check_seed("--seed", options.seed)
    model = checkpoints.load_inpainting(options.checkpoint, trained_on=options.data)
    learned = _mask_of(checkpoints.load(options.checkpoint, trained_on=options.data)[1])
    mask = getattr(options, "mask", learned)
    if mask not in masks.SOURCES:  # weights that were trained by other means than this command
        raise ValueError(
            f"--mask must be given, one of {', '.join(masks.SOURCES)}: {options.checkpoint} "
            f"learned to fill {learned!r}, got none"
        )
    if learned not in (mask, "mixed"):
        print(f"NOTE: {options.checkpoint} learned to fill {learned}, not {mask}", file=sys.stderr)
    _check_out(options.out, ".png")
    test = data.load(options.data).test
    check_at_least("--digits", options.digits, 1, len(test))
    test = test.take(options.digits)
    generator = torch.Generator().manual_seed(options.seed)
    x = data.to_unit(test.images)
    visible = masks.SOURCES[mask](len(x), generator)
    given = masks.hide(x, visible)  # (N, 2, 28, 28)
    with torch.no_grad():
        filled = [model.sample(given, generator) for _ in range(options.completions)]
    numbered = {f"filled {number}": images for number, images in enumerate(filled, start=1)}
    from cvae_utils import plotting  # matplotlib is paid for only where a picture is made

    rows = {"flawed": masks.grey_out(x, visible)} | numbered | {"original": x}
    figure = plotting.compare_rows(rows)
    _write_picture(figure, options.out)
    return 0


def _mask_of(provenance: checkpoints.Provenance) -> str:
    """Return what an inpainting model did not see in training."""
    return str(provenance.training.get("mask", "centre"))


def _write_picture(figure: Figure, path: Path) -> None:
    from matplotlib import pyplot as plt

    picture = io.BytesIO()
    figure.savefig(picture, dpi=100, format="png")
    plt.close(figure)  # who calls `main` many times keeps no figure of each call
    write_whole(path, picture.getvalue())
    print(f"wrote {path}")


def _evaluate(options: argparse.Namespace) -> int:
    samples: int | None = getattr(options, "importance_samples", None)
    if samples is not None:
        check_at_least("--importance-samples", samples, 0)
    if not options.checkpoint and not options.all:
        raise ValueError("evaluate needs checkpoints, or --all")
    if options.all and options.json:
        raise ValueError("--json must be left out with --all, which writes CSV and Markdown")
    if hasattr(options, "out") and not options.all:
        raise ValueError("--out must be left out without --all, which alone writes files")
    out: Path = getattr(options, "out", Path("build"))
    device = training.pick_device(options.device)
    dataset = data.load(options.data)
    # What is missing or damaged is refused before minutes are spent.
    loaded = {
        name: checkpoints.load(name, device, trained_on=dataset.name)
        for name in (*options.checkpoint, *(evaluation.COMPARED if options.all else ()))
    }
    holes = evaluation.recorded_holes(dataset.name) if options.all else None
    if options.all:
        _check_out(out / "comparison.csv")
    judge = checkpoints.load_classifier(options.judge, device, dataset.name)
    for name, (_, provenance) in loaded.items():
        if caveat := provenance.caveat(dataset):  # what a reader of the figures must know
            print(f"NOTE: these digits and {name}: {caveat}", file=sys.stderr)
    reference = evaluation.Reference(judge, dataset.train, dataset.test)
    if options.checkpoint:
        rows = {}
        for name in options.checkpoint:
            model, provenance = loaded[name]
            rows[name] = evaluation.measure(
                model, dataset.test, options.seed, samples, _mask_of(provenance), reference
            )
        _print(dataset, rows, as_json=options.json)
    if holes is not None:
        compared = evaluation.compare(
            reference, dataset, options.seed, samples, device, progress=sys.stderr
        )
        _write_tables(out, {"comparison": compared, "holes": holes})
    return 0


def _print(dataset: data.Dataset, rows: dict[str, dict[str, float]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"data": str(dataset), "figures": rows}, indent=2))
        return
    print(f"{dataset}; mean per image, in nats where it is no share")
    for name, figures in rows.items():
        print(name)
        for figure, value in figures.items():
            print(f"    {figure:32}{value:12.4f}")


def _write_tables(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    for name, table in tables.items():
        write_whole(folder / f"{name}.csv", table.to_csv(float_format="%.4f").encode())
        shown = evaluation.readable(table) if name == "comparison" else table.round(1)
        text = shown.to_markdown()
        write_whole(folder / f"{name}.md", f"{text}\n".encode())
        print(f"{text}\n\nwrote {folder / name}.csv and .md\n")
