"""The training loop: what it minimizes, records, repeats exactly, and keeps when it is stopped."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cvae_utils import data, evaluation, objectives, training
from cvae_utils.models import CGAN, Classifier, LabelCVAE
from cvae_utils.training import Callback, History, fit


def tiny_model(seed: int = 0) -> LabelCVAE:
    torch.manual_seed(seed)
    return LabelCVAE(latent_dim=2, width=8)


def ten_images() -> data.Split:
    """Ten images, each of one grey value that tells which it is, labelled 0 to 9."""
    images = torch.arange(10, dtype=torch.uint8)[:, None, None].expand(10, 28, 28).contiguous()
    return data.Split(images, torch.arange(10))


class OneWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def grey(images: Tensor, generator: torch.Generator) -> Tensor:
    return data.to_unit(images)


def slope(
    model: OneWeight, x: Tensor, labels: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """An objective with gradient 1 everywhere and with terms whose means are known."""
    size = torch.full((len(x),), float(len(x)))
    return {"loss": labels + model.weight, "size": size, "grey": x[:, 0, 0] * 255}


class Diary(Callback):
    """Writes down every call, and raises `error` at one of the steps."""

    def __init__(self, fail_at: int = 0, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.entries: list[Any] = []
        self.fail_at, self.error = fail_at, error

    def on_start(self, epochs: int, steps_per_epoch: int) -> None:
        self.entries.append(("start", epochs, steps_per_epoch))

    def on_step(self) -> None:
        self.entries.append("step")
        if self.entries.count("step") == self.fail_at:
            raise self.error("enough")

    def on_epoch(self, history: History) -> None:
        self.entries.append(("epoch", len(history.epochs)))

    def on_end(self, history: History) -> None:
        self.entries.append(("end", len(history.epochs)))


def fit_ten(callbacks: Sequence[Callback] = (), **settings: Any) -> tuple[OneWeight, History]:
    """Fit one weight on ten images in batches of 4, 4 and 2."""
    model = OneWeight()
    defaults: dict[str, Any] = {"epochs": 2, "batch_size": 4, "prepare": grey}
    return model, fit(model, slope, ten_images(), callbacks=callbacks, **(defaults | settings))


# ---------------------------------------------------------------- learning


def test_the_loss_falls(digits: data.Split) -> None:
    history = fit(
        tiny_model(), objectives.negative_elbo, digits, epochs=15, batch_size=20,
        max_learning_rate=1e-2,
    )  # fmt: skip
    loss = history.curve("loss")
    assert loss[0] > 400  # about 784 log 2 = 543 to begin with
    assert loss[-1] < 0.6 * loss[0]
    for row in history.epochs:
        assert row["loss"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-5)


def test_a_classifier_learns_the_labels_of_a_few_images(digits: data.Split) -> None:
    torch.manual_seed(0)
    model = Classifier(width=4)
    history = fit(
        model, objectives.cross_entropy, digits, epochs=12, batch_size=20,
        max_learning_rate=2e-2, prepare=grey,
    )  # fmt: skip
    read = model.read(data.to_unit(digits.images))
    assert (read == digits.labels).float().mean() > 0.9
    assert history.curve("error")[-1] < 0.1


def weights_after(seed: int, digits: data.Split) -> Tensor:
    model = tiny_model()
    torch.seed()  # the state of torch's own generator has no say, be it what it may
    fit(model, objectives.negative_elbo, digits, epochs=2, batch_size=32, seed=seed)
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_seed_decides_the_weights_to_the_bit(digits: data.Split) -> None:
    first = weights_after(seed=7, digits=digits)
    assert torch.equal(weights_after(seed=7, digits=digits), first)
    assert not torch.equal(weights_after(seed=8, digits=digits), first)


class Forgetful(nn.Module):
    """A line of weights behind a dropout, which draws from torch's own random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.weight = nn.Dropout(0.5), nn.Parameter(torch.zeros(784))


def forgetful(
    model: Forgetful, x: Tensor, labels: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    return {"loss": (model.dropout(x).flatten(1) @ model.weight - labels).square()}


def test_layers_that_draw_are_decided_by_the_seed_and_go_on_to_the_bit(digits: data.Split) -> None:
    def trained(seed: int, fail_at: int = 0) -> Tensor:
        torch.seed()
        before = torch.get_rng_state()
        model = Forgetful()
        settings: dict[str, Any] = {"epochs": 3, "batch_size": 40, "seed": seed}
        history = fit(model, forgetful, digits, callbacks=[Diary(fail_at)], **settings)
        if fail_at:
            fit(model, forgetful, digits, history=history, **settings)
        assert torch.equal(torch.get_rng_state(), before)  # the caller's
        return model.weight.detach()

    whole = trained(seed=1)
    assert torch.equal(trained(seed=1), whole)
    assert torch.equal(trained(seed=1, fail_at=5), whole)
    assert not torch.equal(trained(seed=2), whole)


def test_a_history_of_an_earlier_version_is_refused_in_words() -> None:
    _, history = fit_ten([Diary(fail_at=4)], epochs=3)
    assert history.snapshot
    del history.snapshot.tensors["generator.layers"]
    with pytest.raises(ValueError, match=r"^history must .* without 'layers': begin anew$"):
        fit_ten(epochs=3, history=history)


def test_a_model_of_64_bits_is_given_images_of_64(digits: data.Split) -> None:
    model = tiny_model().double()
    history = fit(model, objectives.negative_elbo, digits, epochs=1, batch_size=50)
    assert next(model.parameters()).dtype == torch.float64
    assert math.isfinite(history.curve("loss")[0])


def test_the_means_of_a_model_of_16_bits_add_up(digits: data.Split) -> None:
    model = tiny_model().bfloat16()
    history = fit(model, objectives.negative_elbo, digits, epochs=1, batch_size=1)
    (row,) = history.epochs
    assert row["reconstruction"] + row["kl"] == pytest.approx(row["loss"], rel=1e-3)


def test_sixteen_bits_learn_the_same_and_leave_32_behind(digits: data.Split) -> None:
    """The products lose digits, not the weights, the losses or the sign of the KL."""
    runs: dict[str, tuple[LabelCVAE, History]] = {}
    for precision in training.PRECISIONS:
        model = tiny_model()
        seen: list[torch.dtype] = []

        def watch(layer: nn.Module, inputs: Any, output: Tensor, seen: Any = seen) -> None:
            seen.append(output.dtype)

        hook = next(m for m in model.modules() if isinstance(m, nn.Linear))
        hook.register_forward_hook(watch)
        history = fit(
            model, objectives.negative_elbo, digits, epochs=3, batch_size=50, precision=precision
        )
        assert set(seen) == {getattr(torch, precision)}
        assert {weights.dtype for weights in model.parameters()} == {torch.float32}
        assert all(kl >= 0 for kl in history.curve("kl"))
        runs[precision] = model, history
    full, half = (history for _, history in runs.values())
    assert half.curve("loss") == pytest.approx(full.curve("loss"), rel=2e-3)
    assert half.curve("loss") != full.curve("loss")
    # Outside the loop nothing is left of it.
    model, _ = runs["bfloat16"]
    assert model.sample(torch.arange(10)).dtype == torch.float32


def test_a_processor_without_16_bit_instructions_is_warned_of_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capability = "torch.backends.cpu.get_cpu_capability"
    for instructions, machine, fast in (
        ("AVX512", "x86_64", ("float32", "bfloat16")),
        ("AVX2", "x86_64", ("float32",)),
        ("DEFAULT", "AMD64", ("float32",)),
        ("DEFAULT", "arm64", ("float32", "bfloat16")),
    ):
        monkeypatch.setattr(capability, lambda name=instructions: name)
        monkeypatch.setattr("platform.machine", lambda name=machine: name)
        assert training.fast_precisions(torch.device("cpu")) == fast
        for precision in training.PRECISIONS:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fit_ten(epochs=1, precision=precision)
            said = [str(warning.message) for warning in caught if "precision" in str(warning)]
            assert len(said) == (precision not in fast)
            assert all("'bfloat16' takes many times as long as 'float32'" in text for text in said)
    assert training.fast_precisions(torch.device("cuda")) == training.PRECISIONS


def test_the_learning_rate_rises_to_its_maximum_and_falls_to_nearly_nothing() -> None:
    # Under a constant gradient of 1, Adam moves the weight by about the learning rate.
    weights = [0.0]
    model = OneWeight()

    class Watch(Callback):
        def on_step(self) -> None:
            weights.append(model.weight.item())

    fit(
        model, slope, ten_images(), epochs=200, batch_size=5, prepare=grey,
        max_learning_rate=0.5, callbacks=[Watch()],
    )  # fmt: skip
    rates = [before - after for before, after in pairwise(weights)]
    assert len(rates) == 400
    assert max(rates) == pytest.approx(0.5, rel=0.01)
    assert 50 < rates.index(max(rates)) < 200  # the rise is shorter than the fall
    assert 0 < rates[0] < 0.05
    assert abs(rates[-1]) < 0.001


@pytest.mark.parametrize(
    ("momentum", "least", "most"), [(None, 0.85, 0.95), (0.5, 0.5, 0.5), (0, 0.0, 0.0)]
)
def test_adams_momentum_moves_against_the_learning_rate_unless_it_is_held(
    momentum: float | None, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[float, float]] = []  # learning rate and momentum of each step

    class Watched(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            used.append((self.param_groups[0]["lr"], self.param_groups[0]["betas"][0]))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    fit_ten(epochs=50, batch_size=5, momentum=momentum)
    rates, momenta = zip(*used, strict=True)
    assert len(used) == 100
    assert (min(momenta), max(momenta)) == pytest.approx((least, most), abs=1e-3)
    assert momenta[rates.index(max(rates))] == pytest.approx(least)


def test_one_single_step_is_a_run_too() -> None:
    model, history = fit_ten(epochs=1, batch_size=10)
    assert len(history.epochs) == 1
    assert model.weight.item() < 0  # downhill


# ---------------------------------------------------------------- the history


def test_means_are_over_examples_also_with_an_uneven_last_batch() -> None:
    # Batches of 4, 4 and 2: the mean over batches would be 10 / 3, and no batch may be left out.
    _, history = fit_ten()
    assert history.curve("size") == pytest.approx([(16 + 16 + 4) / 10] * 2)
    assert history.curve("grey") == pytest.approx([4.5] * 2)  # each image once in every epoch
    assert all(set(row) == {"loss", "size", "grey", "seconds"} for row in history.epochs)


def test_the_recorded_loss_is_that_of_the_weights_of_each_step() -> None:
    # Labels have the mean 4.5; the weight that is added to them falls from 0 on.
    _, history = fit_ten(epochs=3)
    first, second, third = history.curve("loss")
    assert 4.5 > first > second > third


def test_the_history_knows_the_plan() -> None:
    _, history = fit_ten(epochs=3)
    assert (history.planned, len(history.epochs), history.interrupted) == (3, 3, False)


def test_epochs_take_the_examples_in_different_orders() -> None:
    orders: list[int] = []

    def note(
        model: OneWeight, x: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        assert torch.equal((x[:, 0, 0] * 255).round().long(), labels)  # each has its own label
        orders.extend(labels.tolist())
        return {"loss": labels + model.weight}

    fit(OneWeight(), note, ten_images(), epochs=2, batch_size=4, prepare=grey)
    assert sorted(orders[:10]) == sorted(orders[10:]) == list(range(10))
    assert orders[:10] != orders[10:]
    assert orders[:10] != list(range(10))


def test_images_are_binarized_anew_in_every_epoch_unless_told_otherwise() -> None:
    split = data.Split(torch.full((1, 28, 28), 128, dtype=torch.uint8), torch.tensor([3]))
    seen: list[Tensor] = []

    def note(
        model: OneWeight, x: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        seen.append(x)
        return {"loss": labels + model.weight}

    fit(OneWeight(), note, split, epochs=2)
    assert all(set(x.unique().tolist()) == {0.0, 1.0} for x in seen)
    assert not torch.equal(*seen)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_without_gradients_there_is_no_training(without: Callable[[], Any]) -> None:
    history = training.History()
    with without(), pytest.raises(ValueError, match="fit must be called where gradients are"):
        fit(OneWeight(), slope, ten_images(), epochs=1, history=history)
    assert history.snapshot is None


def test_a_step_computes_no_gradient_of_the_images() -> None:
    """An objective may have asked for one, as a penalty on slopes does; the step needs none."""
    leaves = []

    def steep(
        model: OneWeight, x: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        leaves.append(x.detach().requires_grad_())
        return {"loss": (model.weight * leaves[-1].square()).sum((1, 2))}

    model = OneWeight()
    fit(model, steep, ten_images(), epochs=1, batch_size=4, prepare=grey)
    assert [leaf.grad for leaf in leaves] == [None] * 3
    assert model.weight.grad is not None


# ---------------------------------------------------------------- callbacks


def test_callbacks_see_every_step_and_epoch_in_order() -> None:
    first, second = Diary(), Diary()
    fit_ten([first, second])
    wanted = [
        ("start", 2, 3),
        *["step"] * 3, ("epoch", 1),
        *["step"] * 3, ("epoch", 2),
        ("end", 2),
    ]  # fmt: skip
    assert first.entries == second.entries == wanted


def test_callbacks_may_leave_methods_out() -> None:
    _, history = fit_ten([Callback()])
    assert len(history.epochs) == 2


def test_the_model_is_in_training_mode_while_it_trains_and_not_after() -> None:
    modes: list[bool] = []

    def note(
        model: OneWeight, x: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        modes.append(model.training)
        return {"loss": labels + model.weight}

    model = OneWeight().eval()
    fit(model, note, ten_images(), epochs=1, batch_size=4)
    assert modes == [True] * 3
    assert not model.training


def test_a_callback_that_measures_the_model_does_not_change_the_run(digits: data.Split) -> None:
    class Measure(Callback):
        def on_epoch(self, history: History) -> None:
            evaluation.accuracy(model, digits)
            model.eval()

    weights = []
    for callbacks in ([], [Measure()]):
        torch.manual_seed(0)
        model = Classifier(width=1)
        fit(model, objectives.cross_entropy, digits, epochs=3, batch_size=40, callbacks=callbacks)
        weights.append(model.state_dict())  # the running means of batch normalization with them
    for name, alone in weights[0].items():
        assert torch.equal(alone, weights[1][name]), name


def test_the_progress_bar_counts_steps_and_shows_the_means(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit_ten([training.ProgressBar()])
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    assert "6/6" in shown  # two epochs of three steps
    assert "epoch 2/2" in shown
    assert "size 3.60, grey 4.50" in shown


# ---------------------------------------------------------------- interrupts


def test_an_interrupt_keeps_finished_epochs_and_a_usable_model(
    digits: data.Split, capsys: pytest.CaptureFixture[str]
) -> None:
    model, diary = tiny_model(), Diary(fail_at=7)  # five steps an epoch: in the second one
    history = fit(
        model, objectives.negative_elbo, digits, epochs=4, batch_size=20, callbacks=[diary]
    )
    assert history.interrupted
    assert (len(history.epochs), history.planned) == (1, 4)
    assert diary.entries[-3:] == ["step", "step", ("end", 1)]
    assert "Interrupted after 1 of 4 epochs" in capsys.readouterr().out
    assert not model.training
    assert model.sample(torch.arange(10)).isfinite().all()
    # The weights are those of the last step that was made, not the initial ones.
    before = torch.cat([parameter.flatten() for parameter in tiny_model().parameters()])
    after = torch.cat([parameter.flatten() for parameter in model.parameters()])
    assert not torch.equal(before, after)


def test_an_interrupted_run_took_the_same_steps_as_a_whole_one() -> None:
    _, whole = fit_ten(epochs=3)
    _, part = fit_ten([Diary(fail_at=5)], epochs=3)
    assert part.curve("loss") == whole.curve("loss")[:1]


def test_an_interrupt_in_the_first_epoch_leaves_an_empty_history() -> None:
    diary = Diary(fail_at=1)
    _, history = fit_ten([diary])
    assert (history.epochs, history.interrupted) == ([], True)
    assert diary.entries == [("start", 2, 3), "step", ("end", 0)]


def test_an_error_comes_through_after_the_callbacks_have_ended() -> None:
    model, diary = OneWeight(), Diary(fail_at=2, error=ArithmeticError)
    with pytest.raises(ArithmeticError, match="enough"):
        fit(model, slope, ten_images(), epochs=2, batch_size=4, prepare=grey, callbacks=[diary])
    assert diary.entries[-1] == ("end", 0)
    assert not model.training


def test_a_callback_that_cannot_end_keeps_neither_the_others_nor_the_first_error() -> None:
    class Fails(Diary):
        def on_end(self, history: History) -> None:
            super().on_end(history)
            raise OSError("disk full")

    diaries = [Diary(fail_at=2, error=ArithmeticError), Fails(), Diary()]
    with pytest.raises(OSError, match="disk full") as caught:
        fit_ten(diaries)
    assert isinstance(caught.value.__context__, ArithmeticError)
    assert [diary.entries[-1] for diary in diaries] == [("end", 0)] * 3


def test_callbacks_that_have_begun_are_ended_where_a_later_one_cannot_begin() -> None:
    class Fails(Diary):
        def on_start(self, epochs: int, steps_per_epoch: int) -> None:
            raise ArithmeticError("not today")

    first, second, third = Diary(), Fails(), Diary()
    with pytest.raises(ArithmeticError, match="not today"):
        fit_ten([first, second, third])
    assert first.entries == [("start", 2, 3), ("end", 0)]
    assert second.entries == third.entries == []


def test_a_callback_that_finds_no_memory_is_not_taken_for_a_step() -> None:
    with pytest.raises(MemoryError, match=r"^enough$"):
        fit_ten([Diary(fail_at=2, error=MemoryError)])


def test_a_term_that_is_only_reported_may_be_nan() -> None:
    def unsure(
        model: OneWeight, x: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        terms = slope(model, x, labels, generator)
        return terms | {"size": terms["size"] * float("nan")}

    history = fit(OneWeight(), unsure, ten_images(), epochs=2, prepare=grey)
    assert all(math.isnan(size) for size in history.curve("size"))
    assert all(math.isfinite(loss) for loss in history.curve("loss"))


@pytest.mark.parametrize(
    ("term", "error"),
    [(torch.ones(()), ValueError), (torch.ones(4, 1), ValueError), (0.5, TypeError)],
    ids=["scalar", "column", "number"],
)
def test_every_term_of_an_objective_is_one_number_for_each_example(
    term: Any, error: type[Exception]
) -> None:
    def wrong(
        model: OneWeight, x: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        return slope(model, x, labels, generator) | {"kl": term}

    with pytest.raises(error, match=r"^objective\(\.\.\.\)\['kl'\] must be .*\(4,\), got "):
        fit(OneWeight(), wrong, ten_images(), epochs=1, batch_size=4, prepare=grey)


def test_no_term_takes_the_name_of_what_a_row_has_of_its_own() -> None:
    def timed(
        model: OneWeight, x: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        return slope(model, x, labels, generator) | {"seconds": labels.float()}

    with pytest.raises(ValueError, match=r"^objective\(\.\.\.\) must name no term 'seconds'"):
        fit(OneWeight(), timed, ten_images(), epochs=1, prepare=grey)


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("epochs", 0, ValueError),
        ("epochs", 1.5, TypeError),
        ("batch_size", 0, ValueError),
        ("batch_size", -4, ValueError),
        ("batch_size", "128", TypeError),
        ("max_learning_rate", 0.0, ValueError),
        ("max_learning_rate", float("nan"), ValueError),
        ("max_learning_rate", None, TypeError),
        ("precision", "float16", ValueError),
        ("seed", -1, ValueError),
        ("seed", 2**64, ValueError),
        ("seed", 0.5, TypeError),
        ("momentum", 1.0, ValueError),
        ("momentum", -0.1, ValueError),
        ("momentum", float("nan"), ValueError),
        ("momentum", "0.5", TypeError),
        ("cuda_graph", 1, TypeError),
        ("cuda_graph", True, ValueError),  # on a CPU
        ("prepare", None, TypeError),
        ("history", {}, TypeError),
        ("callbacks", ["bar"], TypeError),
    ],
)
def test_a_bad_argument_is_named_before_anything_happens(
    argument: str, value: object, error: type[Exception]
) -> None:
    diary = Diary()
    callbacks = [diary, *value] if isinstance(value, list) else [diary]
    came = repr(value[0] if isinstance(value, list) else value)
    settings = {} if isinstance(value, list) else {argument: value}
    with pytest.raises(error, match=rf"^{argument} must be .*got {re.escape(came)}"):
        fit_ten(callbacks, **settings)
    assert diary.entries == []


@pytest.mark.parametrize(
    "callbacks", [None, torch.zeros(0), Diary()], ids=["none", "tensor", "one"]
)
def test_callbacks_come_in_a_sequence(callbacks: Any) -> None:
    with pytest.raises(TypeError, match=r"^callbacks must be a sequence of Callback objects, got"):
        fit_ten(callbacks)


def test_a_curve_is_that_of_a_term_that_was_recorded() -> None:
    history = History(epochs=[{"loss": 2.0, "kl": 1.0}, {"loss": 1.5, "kl": 0.5}])
    assert history.curve("kl") == [1.0, 0.5]
    assert History().curve("kl") == []
    with pytest.raises(ValueError, match=r"^term must be one of 'loss', 'kl', got 'nothing'"):
        history.curve("nothing")


@pytest.mark.reliability(
    "input",
    "no model, one without weights, no data, no objective; one that returns something else",
    "an error that names the argument, what came and what was wanted",
)
@pytest.mark.parametrize(
    ("model", "objective", "split", "message"),
    [
        ("vae", slope, None, r"^model must be Module, got 'vae' \(str\)"),
        (nn.ReLU(), slope, None, "^model must have weights to train, got a ReLU without"),
        (OneWeight().requires_grad_(False), slope, None, "^model must have weights to train"),
        (OneWeight(), None, None, "^objective must be a function of .*got None"),
        (OneWeight(), slope, [1, 2], r"^train must be Split, got \[1, 2\]"),
        (OneWeight(), lambda *_: torch.zeros(4), None, r"^objective\(\.\.\.\) must be a dict"),
        (OneWeight(), lambda *_: {"kl": 1}, None, r"^objective\(\.\.\.\)\['loss'\] must be .*None"),
        (OneWeight(), lambda m, *_: {"loss": m.weight}, None, r"must be .*\(4,\), got .*\(1,\)"),
    ],
)
def test_what_cannot_be_trained_is_named(
    model: Any, objective: Any, split: Any, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        fit(model, objective, split or ten_images(), epochs=1, batch_size=4)


@pytest.mark.parametrize(("batch_size", "count"), [(4, 9), (1, 9), (9, 9), (4, 10)])
def test_a_game_needs_two_examples_in_every_batch(batch_size: int, count: int) -> None:
    split, model = ten_images().take(count), CGAN(latent_dim=2, width=4, hidden=8)
    settings: dict[str, Any] = {"epochs": 1, "batch_size": batch_size, "prepare": data.grey}
    if count % batch_size != 1 and batch_size != 1:
        assert len(fit(model, objectives.adversarial(), split, **settings).epochs) == 1
        return
    message = f"^batch_size must leave two or more of {count} examples .* CGAN .*got {batch_size}$"
    with pytest.raises(ValueError, match=message):
        fit(model, objectives.adversarial(), split, **settings)


def test_the_bar_of_a_run_that_goes_on_counts_what_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = Diary(fail_at=4)  # in the second epoch: each has three steps
    _, history = fit_ten([stopped], epochs=3)
    assert stopped.entries[0] == ("start", 3, 3)
    capsys.readouterr()
    diary = Diary()
    fit_ten([diary, training.ProgressBar()], epochs=3, history=history)
    assert diary.entries[0] == ("start", 2, 3)
    last = capsys.readouterr().out.split("\r")[-1]
    assert last.startswith("100%")
    assert "epoch 3/3" in last


@pytest.mark.parametrize("name", [None, [], 0], ids=repr)
def test_a_device_is_named(name: Any) -> None:
    with pytest.raises(TypeError, match=r"^device must be a name or a torch.device, got"):
        training.pick_device(name)


def test_devices_go_by_name_and_auto_takes_a_gpu_where_there_is_one() -> None:
    assert training.pick_device("cpu") == torch.device("cpu")
    if torch.cuda.device_count() < 2:
        with pytest.raises(ValueError, match=r"device must be one to compute on, got 'cuda:1': "):
            training.pick_device("cuda:1")
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    assert training.pick_device().type == wanted
    # No name at all, two that few machines have, and one that computes nothing.
    for name in ("abacus", "xpu", "hpu", "meta"):
        with pytest.raises(ValueError, match=f"device must be one to compute on, got '{name}': "):
            training.pick_device(name)
