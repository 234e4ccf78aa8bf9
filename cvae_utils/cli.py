"""`python -m cvae_utils`: train, sample, inpaint and evaluate on a machine without a screen."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
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
from cvae_utils.models import GAN, MODELS, Classifier, InpaintingCVAE, Model, build
from cvae_utils.models.label_cvae import LABEL_IN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

IMPORTANCE_SAMPLES = (
    "codes per image for the negative log-likelihood; 500 take minutes, 0 is none, or 100 for "
    "inpainting_cvae"
)
JUDGE = "classifier of the same data that reads samples"
OTHERS = tuple(name for name in data.NAMES if name != checkpoints.SHIPPED)
EFFORT = 0.1  # of the epochs: minutes in place of an hour, and good enough to look at
FEW_CODES = 10  # for each image: MNIST's 100 and 500 would take longer than a tenth of the epochs
INTERRUPTED = 130  # the exit code that shells use for Ctrl-C


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    root = argparse.ArgumentParser(
        prog="python -m cvae_utils",
        description="Train, sample, inpaint and evaluate with the models of the notebook series.",
    )
    commands = root.add_subparsers(dest="command", required=True)
    defaults = argparse.ArgumentDefaultsHelpFormatter

    train = commands.add_parser(
        "train", help="train a model, measure it, write its checkpoint", formatter_class=defaults
    )
    train.add_argument("model", choices=sorted(MODELS))
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
    train.add_argument(
        "--importance-samples", type=int, default=0, metavar="K", help=IMPORTANCE_SAMPLES
    )
    train.add_argument(
        "--penalty", type=float, default=0.1, help="on a gan's or cgan's discriminator, R1"
    )
    train.add_argument("--judge", default="classifier", help=JUDGE)
    train.add_argument(
        "--mask", choices=tuple(masks.SOURCES), default="centre",
        help="what inpainting_cvae does not see",
    )  # fmt: skip
    # Left out, these take the model's own defaults; given to a model without them, it says so.
    suppress: dict[str, Any] = {"default": argparse.SUPPRESS}
    train.add_argument("--width", type=int, help="hidden units, or channels", **suppress)
    train.add_argument(
        "--hidden", type=int, help="units of a conv model's dense layers", **suppress
    )
    train.add_argument("--latent-dim", type=int, help="numbers in a code", **suppress)
    train.add_argument("--label-in", choices=LABEL_IN, help="who sees the label", **suppress)
    train.set_defaults(run=_train)

    others = commands.add_parser(
        "prepare", help="train the weights of another data set", formatter_class=defaults
    )
    others.add_argument("data", choices=OTHERS, help="what they learn from")
    others.add_argument("weights", nargs="*", help="which, by name; all that are shipped if none")
    others.add_argument("--effort", type=float, default=EFFORT, help="share of MNIST's epochs")
    others.set_defaults(run=_prepare)

    sample = commands.add_parser(
        "sample", help="draw a row of images per class to a PNG", formatter_class=defaults
    )
    sample.add_argument("checkpoint", help="a file, or the name of shipped weights")
    sample.add_argument("--out", type=Path, required=True, help="PNG to write")
    sample.add_argument("--per-label", type=int, default=20, help="images in each row")
    sample.add_argument("--seed", type=int, default=0, help="of the codes")
    sample.set_defaults(run=_sample)

    inpaint = commands.add_parser(
        "inpaint", help="fill holes in test digits, to a PNG", formatter_class=defaults
    )
    inpaint.add_argument("checkpoint", help="a file, or the name of shipped weights")
    inpaint.add_argument("--out", type=Path, required=True, help="PNG to write")
    inpaint.add_argument("--data", choices=data.NAMES, default="mnist", help="whose test digits")
    inpaint.add_argument(
        "--mask", choices=tuple(masks.SOURCES), default="centre", help="what is hidden"
    )
    inpaint.add_argument("--digits", type=int, default=10, help="how many of the test digits")
    inpaint.add_argument("--completions", type=int, default=8, help="rows of filled digits")
    inpaint.add_argument("--seed", type=int, default=0, help="of the codes, and of mixed masks")
    inpaint.set_defaults(run=_inpaint)

    evaluate = commands.add_parser(
        "evaluate", help="measure checkpoints on the test digits", formatter_class=defaults
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
        "--out", type=Path, default=Path("build"), metavar="FOLDER",
        help="where --all writes comparison.csv, comparison.md and holes.csv, holes.md",
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
    check_at_least("--importance-samples", options.importance_samples, 0)
    check_seed("--seed", options.seed)
    if options.out.is_dir():
        raise ValueError(f"--out must be a file to write, got the folder {options.out}")
    device = training.pick_device(options.device)
    config = {
        name: getattr(options, name)
        for name in ("width", "hidden", "latent_dim", "label_in")
        if hasattr(options, name)
    }
    torch.manual_seed(options.seed)  # decides the initial weights
    try:
        model = build(options.model, **config).to(device)
    except TypeError as error:
        raise ValueError(
            f"{options.model} does not take one of {sorted(config)}: {error}"
        ) from None
    dataset = data.load(options.data)
    if team.leads:
        print(dataset)
    judge = None
    if isinstance(model, GAN):  # all that can be said of it is what its samples are worth
        judge = checkpoints.load_classifier(options.judge, device, dataset.name)
    chosen: dict[str, Any] = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "max_learning_rate": options.max_learning_rate,
        "seed": options.seed,
        "precision": options.precision,
        "processes": team.size,
    }
    own = _own_settings(model, options)
    about = {"model": model.name, "config": model.config, "data": dataset.fingerprint}
    about |= chosen | own
    run = options.out.with_name(f"{options.out.name}.run")
    history = _begun(run, about, team, options.resume)
    callbacks: list[training.Callback] = [training.ProgressBar()] if team.leads else []
    if team.size == 1:
        callbacks.append(checkpoints.RunFile(run, about))
    _fit(model, dataset.train, history, chosen, callbacks, options)
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
        model, dataset.test, 0, options.importance_samples, options.mask, reference
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


def _own_settings(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that only this kind of model has."""
    if isinstance(model, InpaintingCVAE):
        return {"mask": options.mask}
    return {"penalty": options.penalty} if isinstance(model, GAN) else {}


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
    chosen: dict[str, Any],
    callbacks: Sequence[training.Callback],
    options: argparse.Namespace,
) -> None:
    """Train each kind of model on what it is for."""
    names = ("epochs", "batch_size", "max_learning_rate", "seed", "precision")
    settings = {name: chosen[name] for name in names}
    settings |= {"callbacks": callbacks, "history": history, "cuda_graph": options.cuda_graph}
    if isinstance(model, Classifier):
        training.fit(model, objectives.cross_entropy, train, prepare=data.jitter, **settings)
    elif isinstance(model, InpaintingCVAE):
        objective = objectives.inpainting(masks.SOURCES[options.mask])
        training.fit(model, objective, train, prepare=data.nudge, **settings)
    elif isinstance(model, GAN):
        game = objectives.adversarial(options.penalty)
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
        CheckpointError: a name that no shipped weights have, or an unfinished run that began with
            another effort.
        KeyboardInterrupt: it was stopped; the next call goes on from there.
    """
    check_choice("dataset", dataset, data.NAMES)
    check_number("effort", effort, most=1)
    check_positive("effort", effort)
    if dataset == checkpoints.SHIPPED:
        return
    for name in dict.fromkeys(("classifier", *names)):  # a GAN's training ends before the judge
        _, shipped = checkpoints.load(name)
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
    shipped = sorted(file.stem for file in checkpoints.folder().glob("*.safetensors"))
    prepare(options.data, *(options.weights or shipped), effort=options.effort)
    return 0


def _sample(options: argparse.Namespace) -> int:
    model = checkpoints.load_generator(options.checkpoint)
    classes = _class_names(checkpoints.load(options.checkpoint)[1], model.num_classes)
    images, _ = evaluation.sample_labels(model, options.per_label, options.seed)
    from cvae_utils import plotting  # matplotlib is paid for only where a picture is made

    # A label beyond the classes was never learned, and its images would mean nothing.
    known = images[: len(classes) * options.per_label]
    figure = plotting.digit_grid(known, options.per_label, classes)
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
    check_at_least("--digits", options.digits, 1)
    check_at_least("--completions", options.completions, 1)
    check_seed("--seed", options.seed)
    model = checkpoints.load_inpainting(options.checkpoint, trained_on=options.data)
    test = data.load(options.data).test.take(options.digits)
    generator = torch.Generator().manual_seed(options.seed)
    x = data.to_unit(test.images)
    given = masks.hide(x, masks.SOURCES[options.mask](len(x), generator))  # (N, 2, 28, 28)
    with torch.no_grad():
        filled = [model.sample(given, generator) for _ in range(options.completions)]
    numbered = {f"filled {number}": images for number, images in enumerate(filled, start=1)}
    from cvae_utils import plotting  # matplotlib is paid for only where a picture is made

    figure = plotting.compare_rows({"flawed": given[:, 0]} | numbered | {"original": x})
    _write_picture(figure, options.out)
    return 0


def _write_picture(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, format="png")
    print(f"wrote {path}")


def _evaluate(options: argparse.Namespace) -> int:
    samples: int | None = getattr(options, "importance_samples", None)
    if samples is not None:
        check_at_least("--importance-samples", samples, 0)
    if not options.checkpoint and not options.all:
        raise ValueError("evaluate needs checkpoints, or --all")
    if options.all and options.json:
        raise ValueError("--json must be left out with --all, which writes CSV and Markdown")
    device = training.pick_device(options.device)
    dataset = data.load(options.data)
    # What is missing or damaged is refused before minutes are spent.
    loaded = {
        name: checkpoints.load(name, device, trained_on=dataset.name)
        for name in (*options.checkpoint, *(evaluation.COMPARED if options.all else ()))
    }
    holes = evaluation.recorded_holes(dataset.name) if options.all else None
    judge = checkpoints.load_classifier(options.judge, device, dataset.name)
    for name, (_, provenance) in loaded.items():
        if caveat := provenance.caveat(dataset):  # what a reader of the figures must know
            print(f"NOTE: these digits and {name}: {caveat}", file=sys.stderr)
    reference = evaluation.Reference(judge, dataset.train, dataset.test)
    if options.checkpoint:
        rows = {}
        for name in options.checkpoint:
            model, provenance = loaded[name]
            mask = str(provenance.training.get("mask", "centre"))
            rows[name] = evaluation.measure(
                model, dataset.test, options.seed, samples, mask, reference
            )
        _print(dataset, rows, as_json=options.json)
    if holes is not None:
        compared = evaluation.compare(
            reference, dataset, options.seed, samples, device, progress=sys.stderr
        )
        _write_tables(options.out, {"comparison": compared, "holes": holes})
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
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", float_format="%.4f")
        shown = evaluation.readable(table) if name == "comparison" else table.round(1)
        text = shown.to_markdown()
        (folder / f"{name}.md").write_text(f"{text}\n")
        print(f"{text}\n\nwrote {folder / name}.csv and .md\n")
