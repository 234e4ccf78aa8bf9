"""Runs that are stopped at any moment, or that go wrong, and what is left of them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from jupyter_client.manager import start_new_kernel
from torch import Tensor, nn

from cvae_utils import checkpoints, data, objectives
from cvae_utils.checkpoints import CheckpointError, RunFile
from cvae_utils.cli import main
from cvae_utils.masks import SOURCES
from cvae_utils.models import CGAN, Classifier, InpaintingCVAE, LabelCVAE
from cvae_utils.training import Callback, History, TrainingError, fit
from tests.conftest import weights

Terms = dict[str, Tensor]
ABOUT = {"model": "tiny"}


def tiny() -> LabelCVAE:
    torch.manual_seed(0)
    return LabelCVAE(latent_dim=2, width=8)


def train(model: nn.Module, split: data.Split, **changes: Any) -> History:
    """Three epochs of three steps, of a tiny model unless told otherwise."""
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 40} | changes
    objective = settings.pop("objective", objectives.negative_elbo)
    return fit(model, objective, split, **settings)


def means(history: History) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.epochs]


class StopAt(Callback):
    """Raises an interrupt at the n-th call of one of the loop's moments."""

    def __init__(self, moment: str, count: int) -> None:
        self.moment, self.left = moment, count

    def _pass(self, moment: str) -> None:
        if moment == self.moment:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    def on_step(self) -> None:
        self._pass("step")

    def on_epoch(self, history: History) -> None:
        self._pass("epoch")

    def objective(self, model: LabelCVAE, x: Tensor, y: Tensor, g: torch.Generator) -> Terms:
        self._pass("forward")
        return objectives.negative_elbo(model, x, y, g)


# ---------------------------------------------------------------- interrupts


@pytest.mark.reliability(
    "training",
    "an interrupt at every step: in the objective, after the step, after the epoch",
    "going on ends with the same weights and history, to the bit",
)
def test_an_interrupt_at_any_step_costs_nothing(
    digits: data.Split, record_property: Callable[[str, object], None]
) -> None:
    whole = tiny()
    history = train(whole, digits)
    moments = [("forward", n) for n in range(1, 10)] + [("step", n) for n in range(1, 10)]
    moments += [("epoch", n) for n in range(1, 4)]
    for moment, count in moments:
        model, stop = tiny(), StopAt(moment, count)
        part = train(model, digits, objective=stop.objective, callbacks=[stop])
        assert part.interrupted
        assert weights(model).isfinite().all()
        after = train(model, digits, history=part)
        assert after is part
        assert not after.interrupted
        assert torch.equal(weights(model), weights(whole)), (moment, count)
        assert means(after) == means(history), (moment, count)
    record_property("cases", len(moments))


@pytest.fixture
def alarm(ctrl_c: None) -> Iterator[Callable[[float], bool]]:
    """A clock that presses Ctrl-C after some seconds, wherever the program is then."""

    def press(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    unused = signal.signal(signal.SIGALRM, press)
    yield lambda seconds: bool(signal.setitimer(signal.ITIMER_REAL, seconds))
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, unused)


@pytest.mark.reliability(
    "training",
    "real signals at random moments, several in one run",
    "going on ends with the same weights and history, to the bit",
)
def test_a_signal_at_any_moment_costs_nothing(
    digits: data.Split,
    alarm: Callable[[float], bool],
    record_property: Callable[[str, object], None],
) -> None:
    whole = tiny()
    wanted = means(train(whole, digits))
    seconds = []
    for _ in range(3):  # the first run of a process is much longer than any other
        start = time.perf_counter()
        train(tiny(), digits)
        seconds.append(time.perf_counter() - start)
    chance, signals = random.Random(0), 0  # noqa: S311 - moments, no secrets
    while signals < 100:
        model, history = tiny(), History()
        through = False
        while not through:
            try:
                alarm(chance.uniform(0, min(seconds)))
                train(model, digits, history=history)
                through = not history.interrupted
                alarm(0)
                signals += history.interrupted
            except KeyboardInterrupt:  # before the run began, or when it was through
                signals += 1
        assert torch.equal(weights(model), weights(whole))
        assert means(history) == wanted
    record_property("cases", 100)


def test_an_interrupt_waits_for_the_end_of_the_step(
    digits: data.Split, alarm: Callable[[float], bool]
) -> None:
    """Ctrl-C in the middle of a forward pass: the step is made whole, and it is the last one."""
    model, seen = tiny(), []

    class Count(Callback):
        def on_step(self) -> None:
            seen.append(weights(model))

    def pressed(model: LabelCVAE, x: Tensor, y: Tensor, g: torch.Generator) -> Terms:
        if len(seen) == 4:
            signal.raise_signal(signal.SIGINT)
        return objectives.negative_elbo(model, x, y, g)

    history = train(model, digits, objective=pressed, callbacks=[Count()])
    assert history.interrupted
    assert len(seen) == 5
    assert torch.equal(weights(model), seen[-1])
    assert not torch.equal(seen[-1], seen[-2])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c")
def test_a_run_on_another_thread_leaves_ctrl_c_alone(digits: data.Split) -> None:
    """Python lets the main thread alone say what a signal does."""
    whole, model = tiny(), tiny()
    train(whole, digits)
    with ThreadPoolExecutor(1) as pool:
        history = pool.submit(train, model, digits).result()
    assert len(history.epochs) == 3
    assert torch.equal(weights(model), weights(whole))


IN_A_NOTEBOOK = [
    """
from cvae_utils import data, models, objectives, training
split = data.load(download=False).train.take(2000)
model = models.LabelCVAE(latent_dim=2, width=8)
class Tell(training.Callback):
    def on_epoch(self, history):
        print("an epoch is through", flush=True)
settings = {"epochs": 10**5, "callbacks": [Tell()]}
""",
    """
history = training.fit(model, objectives.negative_elbo, split, **settings)
print("the cell goes on:", history.interrupted, len(history.epochs) > 0)
""",
    """
done = len(history.epochs)
training.fit(model, objectives.negative_elbo, split, history=history, **settings)
print("and on:", history.interrupted, len(history.epochs) > done, model.training)
""",
]


@pytest.mark.reliability(
    "training",
    "the stop button of a notebook, in a real kernel: twice in one run",
    "the cell goes on with model and history; the next call goes on with the run",
)
def test_the_stop_button_keeps_model_and_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody else's settings or kernels
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    manager, client = start_new_kernel(kernel_name="python3")

    def run(cell: str, stop: bool) -> str:
        """Run a cell; press the stop button when its first epoch is through."""
        printed: list[str] = []

        def listen(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                if stop and not printed:
                    manager.interrupt_kernel()
                printed.append(message["content"]["text"])

        reply = client.execute_interactive(cell, output_hook=listen, timeout=120)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(printed)

    try:
        run(IN_A_NOTEBOOK[0], stop=False)
        assert "the cell goes on: True True" in run(IN_A_NOTEBOOK[1], stop=True)
        assert "and on: True True False" in run(IN_A_NOTEBOOK[2], stop=True)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    record_property("cases", 2)


def test_who_presses_twice_does_not_wait(
    digits: data.Split, alarm: Callable[[float], bool]
) -> None:
    calls = 0

    def stuck(model: LabelCVAE, x: Tensor, y: Tensor, g: torch.Generator) -> Terms:
        nonlocal calls
        calls += 1
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second press stops it here")

    assert train(tiny(), digits, objective=stuck).interrupted
    assert calls == 1


def test_an_interrupt_after_the_last_step_is_not_lost(
    digits: data.Split, alarm: Callable[[float], bool]
) -> None:
    class Late(Callback):
        def on_end(self, history: History) -> None:
            signal.raise_signal(signal.SIGINT)

    history = History()
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), digits, history=history, callbacks=[Late()])
    assert len(history.epochs) == 3


def test_an_interrupt_in_the_bookkeeping_of_the_last_epoch_keeps_the_history(
    digits: data.Split, alarm: Callable[[float], bool]
) -> None:
    class Late(Callback):
        def on_epoch(self, history: History) -> None:
            if len(history.epochs) == history.planned:
                signal.raise_signal(signal.SIGINT)

    history = train(tiny(), digits, callbacks=[Late()])
    assert history.interrupted
    assert len(history.epochs) == 3


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.Handlers.SIG_DFL])
def test_a_program_that_treats_interrupts_itself_is_left_alone(
    digits: data.Split, handler: signal.Handlers
) -> None:
    before = signal.signal(signal.SIGINT, handler)
    seen = []

    class Look(Callback):
        def on_step(self) -> None:
            seen.append(signal.getsignal(signal.SIGINT))

    try:
        train(tiny(), digits, epochs=1, callbacks=[Look()])
    finally:
        signal.signal(signal.SIGINT, before)
    assert set(seen) == {handler}


def small_models() -> dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]]:
    """One model of each kind: an MLP, batch norms, channels-last convolutions, a game of two."""
    return {
        "label_cvae": (lambda: LabelCVAE(2, 8), {}),
        "classifier": (
            lambda: Classifier(width=1),
            {"objective": objectives.cross_entropy, "prepare": data.jitter},
        ),
        "inpainting_cvae": (
            lambda: InpaintingCVAE(latent_dim=2, width=2, hidden=4),
            {"objective": objectives.inpainting(SOURCES["mixed"]), "prepare": data.nudge},
        ),
        "cgan": (
            lambda: CGAN(latent_dim=3, width=4, hidden=8),
            {
                "objective": objectives.adversarial(),
                "prepare": data.grey,
                "momentum": objectives.GAN_MOMENTUM,
            },
        ),
    }


@pytest.mark.reliability(
    "training",
    "a run of each kind of model goes on in another process, from its file",
    "the same weights as of an undisturbed run, to the bit",
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", small_models())
def test_every_kind_of_model_goes_on_from_a_file(
    tmp_path: Path, digits: data.Split, name: str, precision: str
) -> None:
    make, settings = small_models()[name]
    settings |= {"precision": precision}

    def fresh() -> nn.Module:
        torch.manual_seed(1)
        return make()

    whole = fresh()
    history = train(whole, digits, **settings)
    path = tmp_path / "part.run"
    callbacks = [RunFile(path, ABOUT), StopAt("step", 8)]
    train(fresh(), digits, callbacks=callbacks, **settings)
    torch.manual_seed(99)
    model = make()  # other weights, as a new process would have
    read = checkpoints.load_run(path, ABOUT)
    assert len(read.epochs) == 2
    after = train(model, digits, history=read, **settings)
    assert torch.equal(weights(model), weights(whole))
    assert means(after) == means(history)


@pytest.mark.reliability(
    "training",
    "the process killed with SIGKILL at random moments, again and again",
    "its file goes on: the same weights in the end, to the bit",
)
def test_a_killed_run_goes_on_from_its_file(
    tmp_path: Path, digits: data.Split, record_property: Callable[[str, object], None]
) -> None:
    path, epochs = tmp_path / "run", 30
    whole, start = tiny(), time.perf_counter()
    train(whole, digits, epochs=epochs, callbacks=[RunFile(path, ABOUT, 0)])
    takes = time.perf_counter() - start  # on this machine, with its other work
    path.unlink()

    def go_on() -> History:
        history = checkpoints.load_run(path, ABOUT) if path.is_file() else History()
        model = tiny()
        train(model, digits, epochs=epochs, history=history, callbacks=[RunFile(path, ABOUT, 0)])
        assert torch.equal(weights(model), weights(whole))
        return history

    chance, kills = random.Random(0), 40  # noqa: S311
    reached = set()
    for _ in range(kills):
        with killed_after(chance.uniform(0, takes / 5), go_on):
            done = len(checkpoints.load_run(path, ABOUT).epochs) if path.is_file() else 0
        reached.add(done)
        if done == epochs:
            path.unlink()
    assert len(reached) > 3  # it was killed at different places, and always got further
    assert len(go_on().epochs) == epochs
    assert [file for file in tmp_path.iterdir() if file.suffix != ".part"] == [path]
    record_property("cases", kills)


@contextlib.contextmanager
def killed_after(seconds: float, work: Callable[[], object]) -> Iterator[None]:
    """Do some work in a copy of this process, and kill that in the middle."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)  # none of the tests' own endings run twice
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    yield


# `python -m cvae_utils` on fewer digits: enough for epochs that one can be killed in.
TRAIN, TEST = 4000, 200
ON_FEWER_DIGITS = f"""
import dataclasses, sys
from cvae_utils import cli, data
whole = data.load(download=False)
less = dataclasses.replace(whole, train=whole.train.take({TRAIN}), test=whole.test.take({TEST}))
data.load = lambda _: less
sys.exit(cli.main())
"""


@pytest.mark.reliability(
    "training",
    "`python -m cvae_utils train` killed, then called again with `--resume`",
    "the same weights as of an undisturbed command, to the bit",
)
def test_a_killed_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_data = data.load(download=False)
    less = dataclasses.replace(
        whole_data, train=whole_data.train.take(TRAIN), test=whole_data.test.take(TEST)
    )
    monkeypatch.setattr(data, "load", lambda _: less)
    out, run = tmp_path / "vae.safetensors", tmp_path / "vae.safetensors.run"
    words = ["train", "vae", "--width", "8", "--latent-dim", "2", "--device", "cpu", "--out"]
    size = ["--epochs", "3", "--batch-size", "50"]
    with subprocess.Popen(
        [sys.executable, "-c", ON_FEWER_DIGITS, *words, str(out), *size],
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while not run.is_file() and process.poll() is None:
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL  # it neither failed nor was through
    assert not out.exists()
    assert main([*words, str(out), *size]) == 1  # not by accident, over the unfinished one
    assert "--resume, or delete it" in capsys.readouterr().err
    assert main([*words, str(out), *size, "--resume", "--max-learning-rate", "1"]) == 1
    said = capsys.readouterr().err
    assert f"{run} is the unfinished run of something else: max_learning_rate is 0.002" in said
    assert main([*words, str(out), *size, "--resume", "--latent-dim", "3"]) == 1
    assert (
        "config is {'latent_dim': 2, 'width': 8, 'num_classes': 10} there"
        in capsys.readouterr().err
    )
    assert main([*words, str(out), *size, "--resume"]) == 0
    assert "going on after epoch" in capsys.readouterr().out
    assert not run.exists()
    assert main([*words, str(tmp_path / "whole.safetensors"), *size]) == 0
    resumed, provenance = checkpoints.load(out)
    whole, _ = checkpoints.load(tmp_path / "whole.safetensors")
    assert torch.equal(weights(resumed), weights(whole))
    assert "--resume" not in provenance.command
    assert provenance.training["epochs"] == 3


# ---------------------------------------------------------------- what goes wrong by itself


@pytest.mark.reliability(
    "training",
    "a loss or a weight that becomes infinite or NaN, by a huge learning rate",
    "an error that names the rate; the model is back at its last good epoch",
)
@pytest.mark.parametrize("rate", [1e3, 1e8, 1e30])
def test_a_huge_learning_rate_ends_in_a_sentence_and_the_last_good_weights(
    digits: data.Split, rate: float
) -> None:
    model, seen = tiny(), [weights(tiny())]

    class Keep(Callback):
        def on_epoch(self, history: History) -> None:
            seen.append(weights(model))

    with pytest.raises(TrainingError, match=r"diverged.*lower max_learning_rate.*") as caught:
        train(model, digits, epochs=40, max_learning_rate=rate, callbacks=[Keep()])
    assert f"it was {rate:g}" in str(caught.value)
    history = caught.value.history
    done = len(history.epochs)
    assert f"back where it was after epoch {done};" in str(caught.value)
    assert len(seen) == done + 1
    assert torch.equal(weights(model), seen[-1])
    assert seen[-1].isfinite().all()
    assert not model.training


@pytest.mark.reliability(
    "training",
    "NaN or infinity in the loss or only in a weight, in each epoch and step",
    "the model is back at its last good epoch; mended, the run ends as it should",
)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["loss", "weight"])
def test_a_poisoned_epoch_is_undone(
    digits: data.Split,
    poison: float,
    where: str,
    record_property: Callable[[str, object], None],
) -> None:
    whole = tiny()
    train(whole, digits)
    for step in range(1, 10):
        model, steps = tiny(), 0

        class Poison(Callback):
            def on_step(self) -> None:
                nonlocal steps
                steps += 1
                if where == "weight" and steps == step:  # noqa: B023
                    next(model.parameters()).data.view(-1)[0] = poison  # noqa: B023

        def poisoned(model: LabelCVAE, x: Tensor, y: Tensor, g: torch.Generator) -> Terms:
            terms = objectives.negative_elbo(model, x, y, g)
            bad = where == "loss" and steps == step - 1  # noqa: B023
            return {"loss": terms["loss"] + (poison if bad else 0)}

        with pytest.raises(TrainingError, match="diverged") as caught:
            train(model, digits, objective=poisoned, callbacks=[Poison()])
        history = caught.value.history
        assert len(history.epochs) == (step - 1) // 3
        assert weights(model).isfinite().all()
        train(model, digits, history=history)
        assert torch.equal(weights(model), weights(whole))
    record_property("cases", 9)


def full_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


SHORTAGES: dict[str, Callable[[], object]] = {
    "processor": lambda: torch.empty(2**58),  # bytes that no machine has
    "GPU": full_gpu,
    "Python": lambda: bytearray(2**62),
}


@pytest.mark.reliability(
    "training",
    "memory that runs out in a step (the errors of torch's allocators, and Python's own)",
    "an error that names batch_size; model and history are kept, and go on",
)
@pytest.mark.parametrize(
    ("where", "step"),
    [("processor", 1), ("processor", 5), ("processor", 9), ("GPU", 5), ("Python", 5)],
)
def test_a_batch_too_large_for_the_memory_is_named(
    digits: data.Split, where: str, step: int
) -> None:
    whole, model, calls = tiny(), tiny(), 0
    train(whole, digits)

    def greedy(model: LabelCVAE, x: Tensor, y: Tensor, g: torch.Generator) -> Terms:
        nonlocal calls
        calls += 1
        if calls == step:
            SHORTAGES[where]()
        return objectives.negative_elbo(model, x, y, g)

    with pytest.raises(TrainingError, match="batch_size=40 does not fit into the mem") as caught:
        train(model, digits, objective=greedy)
    assert weights(model).isfinite().all()
    assert not model.training
    assert len(caught.value.history.epochs) == (step - 1) // 3
    train(model, digits, history=caught.value.history)
    assert torch.equal(weights(model), weights(whole))


def test_other_errors_come_through_as_they_are_and_the_history_is_kept(digits: data.Split) -> None:
    history, calls = History(), 0

    def broken(model: LabelCVAE, x: Tensor, y: Tensor, g: torch.Generator) -> Terms:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise RuntimeError("no memory of that")
        return objectives.negative_elbo(model, x, y, g)

    with pytest.raises(RuntimeError, match=r"^no memory of that$"):
        train(tiny(), digits, objective=broken, history=history)
    assert len(history.epochs) == 1


# ---------------------------------------------------------------- going on with the wrong thing

OTHERS = {
    "epochs": 4, "batch_size": 20, "max_learning_rate": 1e-3, "seed": 1,
    "precision": "bfloat16", "momentum": 0.5,
}  # fmt: skip


@pytest.mark.reliability(
    "training",
    "going on with another setting, with fewer examples or another model",
    "an error that names what differs",
)
@pytest.mark.parametrize("name", [*OTHERS, "examples", "model"])
def test_a_run_goes_on_only_as_it_began(digits: data.Split, name: str) -> None:
    model, stop = tiny(), StopAt("step", 5)
    history = train(model, digits, callbacks=[stop])
    before = weights(model)
    if name == "model":
        other = LabelCVAE(latent_dim=3, width=8)
        untouched = weights(other)
        with pytest.raises(ValueError, match=r"^history must be of this model: .* has shape"):
            train(other, digits, history=history)
        assert torch.equal(weights(other), untouched)
    elif name == "examples":
        with pytest.raises(ValueError, match=r"^examples must be 100 as in the history.*got 50"):
            train(model, digits.take(50), history=history)
    else:
        with pytest.raises(ValueError, match=f"^{name} must be .* as in the history"):
            train(model, digits, history=history, **{name: OTHERS[name]})
    assert torch.equal(weights(model), before)
    assert history.interrupted


def test_a_run_of_another_kind_of_device_is_refused_whole(digits: data.Split) -> None:
    """A GPU's generator has a state of 16 bytes, a CPU's one of thousands."""
    model = tiny()
    history = train(model, digits, callbacks=[StopAt("epoch", 1)])
    before = weights(model)
    assert history.snapshot
    for name in [name for name in history.snapshot.tensors if name.startswith("generator.")]:
        history.snapshot.tensors[name] = torch.zeros(16, dtype=torch.uint8)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    changed = weights(model)
    with pytest.raises(ValueError, match=r"^history must be of a run on the same kind of device"):
        train(model, digits, history=history)
    assert torch.equal(weights(model), changed)
    assert not torch.equal(changed, before)


def test_a_file_of_another_run_is_refused_with_what_differs(
    tmp_path: Path, digits: data.Split
) -> None:
    path = tmp_path / "a.run"
    with pytest.raises(CheckpointError, match=r"there is no unfinished run .*a\.run"):
        checkpoints.load_run(path, ABOUT)
    train(tiny(), digits, callbacks=[RunFile(path, ABOUT), StopAt("epoch", 1)])
    with pytest.raises(CheckpointError, match="model is 'tiny' there, 'large' was wanted"):
        checkpoints.load_run(path, {"model": "large"})
    with pytest.raises(CheckpointError, match="data is None there, 'abc' was wanted"):
        checkpoints.load_run(path, ABOUT | {"data": "abc"})
    with pytest.raises(CheckpointError, match=r"was not written by cvae_utils as a checkpoint"):
        checkpoints.load(path)
    with pytest.raises(CheckpointError, match=r"not written by cvae_utils as an unfinished run"):
        checkpoints.load_run(checkpoints.folder() / "vae_z20.safetensors", ABOUT)


def test_what_a_run_is_of_comes_back_also_where_json_has_no_such_type(
    tmp_path: Path, digits: data.Split
) -> None:
    path, about = tmp_path / "a.run", ABOUT | {"sizes": (1, 2)}
    train(tiny(), digits, callbacks=[RunFile(path, about)])
    assert len(checkpoints.load_run(path, about).epochs) == 3
    with pytest.raises(CheckpointError, match=r"sizes is \[1, 2\] there, \[1, 3\] was wanted"):
        checkpoints.load_run(path, about | {"sizes": (1, 3)})


def test_a_run_file_is_written_now_and_then_and_at_the_end(
    tmp_path: Path, digits: data.Split
) -> None:
    path = tmp_path / "a.run"
    seen = []

    class Look(Callback):
        def on_epoch(self, history: History) -> None:
            seen.append(len(checkpoints.load_run(path, ABOUT).epochs))

    train(tiny(), digits, callbacks=[RunFile(path, ABOUT, every=3600), Look()])
    assert seen == [1, 1, 1]
    assert len(checkpoints.load_run(path, ABOUT).epochs) == 3
    train(tiny(), digits, callbacks=[RunFile(path, ABOUT, every=0), Look()])
    assert seen == [1, 1, 1, 1, 2, 3]


def test_what_a_run_file_holds_already_is_not_written_again(
    tmp_path: Path, digits: data.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    save = checkpoints.save_run

    def noted(path: Path, history: History, about: dict[str, Any]) -> None:
        written.append(len(history.epochs))
        save(path, history, about)

    monkeypatch.setattr(checkpoints, "save_run", noted)
    for every in (0, 3600):
        train(tiny(), digits, callbacks=[RunFile(tmp_path / "a.run", ABOUT, every)])
    assert written == [1, 2, 3, 1, 3]


def test_before_the_first_epoch_there_is_no_run_file(tmp_path: Path, digits: data.Split) -> None:
    path = tmp_path / "a.run"
    train(tiny(), digits, callbacks=[RunFile(path, ABOUT), StopAt("step", 2)])
    assert not path.exists()
