"""The slider app without a browser: the functions below it, and its events in the kernel."""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Callable

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cvae_utils import evaluation, masks
from cvae_utils.models import CGAN, ConditionalVAE, InpaintingCVAE, LabelCVAE
from cvae_utils.plotting import tile
from cvae_utils.widgets import (
    STILL,
    DigitExplorer,
    DuelState,
    Explorer,
    ExplorerState,
    HoleExplorer,
    HoleState,
    MorphState,
    duel,
    explore,
    fill,
    morph,
    png,
    saved_state,
)


@pytest.fixture
def app(cvae: LabelCVAE) -> DigitExplorer:
    return DigitExplorer(cvae)


def codes(images: Tensor) -> Tensor:
    """Read the codes back from the images of the `echo` model."""
    return torch.logit(images[:, 0, :4].double())


def labels(images: Tensor) -> list[int]:
    return [int(label) for label in torch.logit(images[:, 1, :10]).argmax(1)]


# ---------------------------------------------------------------- explore


def test_the_same_state_gives_the_same_picture(echo: ConditionalVAE) -> None:
    state = ExplorerState(3, 5, {0: 0.5})
    first = explore(echo, state)
    torch.rand(3)  # the state of torch's own generator has no say
    assert torch.equal(explore(echo, state), first)
    assert first.shape == (20, 28, 28)
    assert not torch.equal(explore(echo, ExplorerState(3, 6, {0: 0.5})), first)


def test_the_codes_are_standard_normal_and_all_different(echo: ConditionalVAE) -> None:
    z = codes(explore(echo, ExplorerState(), count=2000))
    assert len(z.unique(dim=0)) == 2000
    assert z.mean(0).tolist() == pytest.approx([0] * 4, abs=0.12)
    assert z.std(0).tolist() == pytest.approx([1] * 4, abs=0.1)


def test_another_digit_keeps_the_codes(echo: ConditionalVAE) -> None:
    three, eight = (explore(echo, ExplorerState(digit, 5)) for digit in (3, 8))
    assert torch.equal(codes(three), codes(eight))
    assert (labels(three), labels(eight)) == ([3] * 20, [8] * 20)


@pytest.mark.parametrize("part", ["", "generation_net.to_14"], ids=["all of it", "a part"])
def test_a_model_in_training_is_drawn_at_rest_and_left_as_it_was(part: str) -> None:
    torch.manual_seed(0)
    gan = CGAN(latent_dim=2, width=4, hidden=8).eval()
    trained = gan.get_submodule(part).train()
    state, before = ExplorerState(3, 5), {k: v.clone() for k, v in gan.state_dict().items()}
    pictures = {"explore": explore(gan, state), "duel": duel([gan], DuelState(3, 5)),
                "morph": morph(gan, MorphState(3, 8, 5))}  # fmt: skip
    assert trained.training
    assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())
    gan.eval()
    assert torch.equal(pictures["explore"], explore(gan, state))
    assert torch.equal(pictures["duel"], duel([gan], DuelState(3, 5)))
    assert torch.equal(pictures["morph"], morph(gan, MorphState(3, 8, 5)))


def test_a_hole_is_filled_with_the_model_at_rest(inpainting: InpaintingCVAE) -> None:
    inpainting.prior_net = nn.Sequential(nn.Dropout(), inpainting.prior_net)
    filled = fill(inpainting.train(), random_images(2), HoleState())
    assert inpainting.training
    assert torch.equal(filled, fill(inpainting.eval(), random_images(2), HoleState()))


def test_a_model_of_64_bits_draws_the_same(cvae: LabelCVAE) -> None:
    pictures: dict[str, Callable[[LabelCVAE], Tensor]] = {
        "explore": lambda model: explore(model, ExplorerState(3, 5, {1: 0.5})),
        "duel": lambda model: duel([model], DuelState(3, 5)),
        "morph": lambda model: morph(model, MorphState(3, 8, 5)),
        "effects": lambda model: torch.tensor(list(evaluation.effects(model, 0).values())),
    }
    before = {name: draw(cvae) for name, draw in pictures.items()}
    exact = cvae.double()
    for name, draw in pictures.items():
        torch.testing.assert_close(draw(exact).float(), before[name], atol=1e-3, rtol=1e-3)


def test_a_conditional_gan_is_explored_like_an_autoencoder() -> None:
    torch.manual_seed(0)
    gan = CGAN(latent_dim=2, width=4, hidden=8).eval()
    first = explore(gan, ExplorerState(3, 5))
    assert first.shape == (20, 28, 28)
    assert torch.equal(explore(gan, ExplorerState(3, 5)), first)
    for other in (ExplorerState(4, 5), ExplorerState(3, 6), ExplorerState(3, 5, {1: 0.5})):
        assert not torch.equal(explore(gan, other), first)


def test_a_shift_moves_one_dimension_of_all_codes_by_so_much(echo: ConditionalVAE) -> None:
    before = codes(explore(echo, ExplorerState(3, 5)))
    after = codes(explore(echo, ExplorerState(3, 5, {1: -1.5, 3: 0.25})))
    wanted = torch.tensor([0, -1.5, 0, 0.25], dtype=torch.float64).expand(20, 4)
    torch.testing.assert_close(after - before, wanted, rtol=0, atol=1e-4)


def test_fewer_digits_are_the_first_of_more(echo: ConditionalVAE) -> None:
    few, many = (explore(echo, ExplorerState(3, 5), count) for count in (4, 20))
    assert len(few) == 4
    assert len(many) == 20
    assert torch.equal(few, many[:4])


@pytest.mark.parametrize(
    ("state", "count", "message"),
    [
        (ExplorerState(digit=10), 20, "digit must be .* from 0 to 9, got 10"),
        (ExplorerState(digit=-1), 20, "digit must be .* from 0 to 9, got -1"),
        (ExplorerState(shifts={4: 0.0}), 20, "latent dimensions 0 to 3, got 4"),
        (ExplorerState(shifts={-1: 0.0}), 20, "latent dimensions 0 to 3, got -1"),
        (ExplorerState(shifts={0: float("nan")}), 20, "finite"),
        (ExplorerState(), 0, "count must be .*>= 1, got 0"),
    ],
)
def test_explore_refuses_what_the_model_has_not_got(
    echo: ConditionalVAE, state: ExplorerState, count: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        explore(echo, state, count)


# ---------------------------------------------------------------- png


def pixels(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("L"), dtype=np.int64)


def random_images(count: int) -> Tensor:
    return torch.rand(count, 28, 28, generator=torch.Generator().manual_seed(0))


def test_an_app_takes_numpys_whole_numbers_and_saves_plain_ones(cvae: LabelCVAE) -> None:
    app = DigitExplorer(cvae, list(np.argsort([3.0, 1.0, 2.0])[:2]), digit=4)
    assert app.state == ExplorerState(4, 0, {1: 0.0, 2: 0.0})
    assert saved_state(app.picture.value) == app.state
    state = MorphState(np.uint8(1), np.uint8(3), np.int64(5))  # type: ignore[arg-type]
    drawn = png(morph(cvae, state), 11, state=state)
    assert saved_state(drawn) == MorphState(1, 3, 5)


def test_a_png_decodes_to_the_tiled_images() -> None:
    images = random_images(5)
    wanted = (255 * tile(images, 3, gap=4).double().numpy()).round()
    assert np.abs(pixels(png(images, 3, zoom=1)) - wanted).max() <= 1


def test_a_png_is_dark_on_light_in_the_right_place() -> None:
    images = torch.zeros(2, 28, 28)
    images[1, 10:18, 4:12] = 1
    shown = pixels(png(images, 2, zoom=1))
    assert shown.shape == (28, 28 + 4 + 28)
    ink = np.zeros_like(shown, dtype=bool)
    ink[10:18, 32 + 4 : 32 + 12] = True
    assert (shown[ink] == 0).all()
    assert (shown[~ink] == 255).all()


def test_zoom_enlarges_without_changing_the_picture() -> None:
    images = torch.zeros(2, 28, 28)
    images[0, :, :14] = 1
    small, large = (pixels(png(images, 2, zoom)) for zoom in (1, 3))
    assert large.shape == (3 * small.shape[0], 3 * small.shape[1])
    # In the middle of each enlarged pixel the value is the old one, but for soft edges.
    assert np.abs(large[1::3, 1::3] - small).mean() < 2


def test_zoom_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"zoom must be .*>= 1, got 0"):
        png(random_images(1), 1, 0)


# ---------------------------------------------------------------- the app


def test_the_first_picture_is_that_of_the_controls(app: DigitExplorer, cvae: LabelCVAE) -> None:
    assert app.state == ExplorerState(7, 0, {0: 0.0, 1: 0.0, 2: 0.0})
    wanted = png(explore(cvae, ExplorerState(7)), 10)
    assert np.array_equal(pixels(app.picture.value), pixels(wanted))
    assert app.message.value == ""
    # Twenty digits in two rows of ten.
    assert pixels(wanted).shape == (2 * (2 * 32 - 4), 2 * (10 * 32 - 4))


def test_each_control_changes_the_picture_and_back_gives_the_very_same(app: DigitExplorer) -> None:
    first = app.picture.value
    controls = [(app.digit, 3), (app.seed, 12), *((slider, -2.0) for slider in app.shifts.values())]
    pictures = {first}
    for control, value in controls:
        before = control.value
        control.value = value
        pictures.add(app.picture.value)
        control.value = before
        assert app.picture.value == first
    assert len(pictures) == 1 + 5  # each of the five controls has an effect of its own


def test_the_digit_slider_asks_for_that_digit(app: DigitExplorer, cvae: LabelCVAE) -> None:
    app.digit.value = 4
    app.shifts[2].value = 1.5
    state = ExplorerState(4, 0, {0: 0.0, 1: 0.0, 2: 1.5})
    assert np.array_equal(pixels(app.picture.value), pixels(png(explore(cvae, state), 10)))


def test_resample_takes_the_next_seed(app: DigitExplorer, cvae: LabelCVAE) -> None:
    first = app.picture.value
    app.resample.click()
    assert app.seed.value == 1
    second = app.picture.value
    assert second != first
    wanted = png(explore(cvae, ExplorerState(7, 1)), 10)
    assert np.array_equal(pixels(second), pixels(wanted))
    app.resample.click()
    assert app.picture.value not in (first, second)
    app.seed.value = 0
    assert app.picture.value == first


@pytest.mark.parametrize("name", ["app", "hole_app"])
def test_centre_takes_all_shifts_back_in_one_picture(
    name: str, request: pytest.FixtureRequest
) -> None:
    app = request.getfixturevalue(name)
    assert app.centre in every_part(app)
    first = app.picture.value
    pictures: list[object] = []
    for slider in app.shifts.values():
        slider.value = -2.0
    app.picture.observe(pictures.append, names="value")
    app.centre.click()
    assert set(app.moved.values()) == {0}
    assert app.picture.value == first
    assert len(pictures) == 1
    app.shifts[0].value = 1.0  # the sliders work as before
    assert len(pictures) == 2


def test_without_sliders_there_is_nothing_to_centre(cvae: LabelCVAE) -> None:
    app = DigitExplorer(cvae, dimensions=())
    assert app.centre not in every_part(app)


class Broken(nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        raise RuntimeError("no <b>ink</b> & no paper")


def test_an_error_in_an_event_is_shown_and_cleared_by_the_next_good_one(
    app: DigitExplorer, cvae: LabelCVAE
) -> None:
    first, good = app.picture.value, cvae.generation_net
    cvae.generation_net = Broken()
    app.digit.value = 3  # must not raise: an exception here would end in a log
    assert "RuntimeError: no &lt;b&gt;ink&lt;/b&gt; &amp; no paper" in app.message.value
    assert "<b>ink</b>" not in app.message.value
    assert app.picture.value == first  # the last good picture stays
    cvae.generation_net = good
    app.digit.value = 7
    assert app.message.value == ""
    assert app.picture.value == first


def test_the_chosen_dimensions_and_digit_come_first(cvae: LabelCVAE) -> None:
    app = DigitExplorer(cvae, dimensions=(3, 1), digit=2)
    assert app.state == ExplorerState(2, 0, {3: 0.0, 1: 0.0})
    assert DigitExplorer(cvae, dimensions=()).state.shifts == {}
    assert DigitExplorer(LabelCVAE(latent_dim=2, width=4)).state.shifts == {0: 0.0, 1: 0.0}


def every_part(app: Explorer) -> list[ipywidgets.Widget]:
    parts = [*app.children]
    for part in parts:
        parts += getattr(part, "children", ())
    return parts


def test_all_controls_are_part_of_the_app(app: DigitExplorer) -> None:
    controls = {app.digit, app.seed, app.resample, app.save, *app.shifts.values()}
    assert controls | {app.picture, app.message} <= set(every_part(app))
    assert "digit-explorer" in app._dom_classes  # the browser test finds it by this


def test_a_digit_or_dimension_that_is_not_there_is_refused(cvae: LabelCVAE) -> None:
    with pytest.raises(ValueError, match="latent dimensions 0 to 3, got 9"):
        DigitExplorer(cvae, dimensions=(0, 9))
    with pytest.raises(ValueError, match=r"digit must be .* from 0 to 9, got 10"):
        DigitExplorer(cvae, digit=10)


def test_pages_without_widgets_get_the_still_picture(app: DigitExplorer) -> None:
    bundle = app._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == app.model_id
    # The notebook format wants the bytes of a picture as text.
    encoded = bundle["image/png"]
    assert isinstance(encoded, str)
    assert re.fullmatch(r"[A-Za-z0-9+/]+=*", encoded)
    picture = pixels(base64.b64decode(encoded))
    shown = pixels(app.picture.value)
    assert np.array_equal(picture[: len(shown), : shown.shape[1]], shown)
    assert picture[len(shown) :].min() < 128  # the sentence
    assert bundle["text/plain"] == STILL


# ---------------------------------------------------------------- the hole


def test_filling_shows_the_flawed_image_the_whole_one_and_completions(
    inpainting: InpaintingCVAE,
) -> None:
    images = random_images(3)
    drawn = fill(inpainting, images, HoleState(image=2, top=4, left=12, size=6), count=4)
    assert drawn.shape == (4 + 4, 28, 28)
    hidden = torch.zeros(28, 28, dtype=torch.bool)
    hidden[4:10, 12:18] = True
    (flawed, *above, mean), (original, *below, spread) = drawn.view(2, 4, 28, 28)
    completions = [*above, *below]
    assert torch.equal(flawed, torch.where(hidden, 0.5, images[2]))
    assert torch.equal(original, images[2])
    for completion in completions:
        assert torch.equal(completion[~hidden], images[2][~hidden])
    assert len({tuple(completion[hidden].tolist()) for completion in completions}) == 4
    stacked = torch.stack(completions).double()
    torch.testing.assert_close(mean, stacked.mean(0).float())
    variance = stacked.square().mean(0) - stacked.mean(0).square()
    torch.testing.assert_close(
        spread, (2 * variance.clamp(min=0).sqrt()).float(), atol=1e-4, rtol=0
    )
    assert spread[~hidden].max() == 0
    assert spread[hidden].max() > 0


def test_codes_are_drawn_around_the_learned_prior(inpainting: InpaintingCVAE) -> None:
    images, state = random_images(1), HoleState(seed=3, shifts={1: 2.5})
    drawn = fill(inpainting, images, state, count=4)[[1, 2, 5, 6]]
    eps = torch.randn(4, 4, generator=torch.Generator().manual_seed(3))
    eps[:, 1] += 2.5
    given = masks.hide(images, masks.centre(10))
    with torch.no_grad():
        prior = inpainting.prior_net(given)
        z = prior.mu + (0.5 * prior.logvar).exp() * eps
        wanted = inpainting.generate(z, given.expand(4, -1, -1, -1))
    torch.testing.assert_close(drawn, wanted)


def test_a_hole_of_nothing_and_of_everything_have_their_limits(inpainting: InpaintingCVAE) -> None:
    images = random_images(2)
    untouched = fill(inpainting, images, HoleState(image=1, size=0), count=2)
    assert torch.equal(untouched[:5], images[1].expand(5, 28, 28))
    assert untouched[5].max() == 0  # no doubt anywhere
    free = [fill(inpainting, images, HoleState(n, 0, 0, 28), count=2) for n in (0, 1)]
    completions = [1, 4]
    assert torch.equal(free[0][completions], free[1][completions])  # the image has no say


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (HoleState(image=2), "image must be from 0 to 1, got 2"),
        (HoleState(image=-1), "image must be from 0 to 1, got -1"),
        (HoleState(size=-1), r"height must be .*>= 0, got -1"),
        (HoleState(shifts={4: 1.0}), "latent dimensions 0 to 3, got 4"),
    ],
)
def test_fill_refuses_what_there_is_not(
    inpainting: InpaintingCVAE, state: HoleState, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fill(inpainting, random_images(2), state)


@pytest.fixture
def hole_app(inpainting: InpaintingCVAE) -> HoleExplorer:
    return HoleExplorer(inpainting, random_images(5), dimensions=(0, 2))


def test_the_hole_begins_in_the_centre(hole_app: HoleExplorer, inpainting: InpaintingCVAE) -> None:
    assert hole_app.state == HoleState(0, 9, 9, 10, 0, {0: 0.0, 2: 0.0})
    wanted = png(fill(inpainting, random_images(5), HoleState()), 7, zoom=3)
    assert np.array_equal(pixels(hole_app.picture.value), pixels(wanted))
    assert hole_app.message.value == ""


def test_each_control_of_the_hole_changes_the_picture_and_back_gives_the_very_same(
    hole_app: HoleExplorer,
) -> None:
    first = hole_app.picture.value
    places = [(hole_app.image, 3), (hole_app.top, 2), (hole_app.left, 20), (hole_app.size, 15)]
    controls = [*places, (hole_app.seed, 8), *((s, 2.0) for s in hole_app.shifts.values())]
    pictures = {first}
    for control, value in controls:
        before = control.value
        control.value = value
        pictures.add(hole_app.picture.value)
        assert hole_app.message.value == ""
        control.value = before
        assert hole_app.picture.value == first
    assert len(pictures) == 1 + 7


def test_the_sliders_of_the_hole_go_from_nothing_to_everything(hole_app: HoleExplorer) -> None:
    limits = [(s.min, s.max) for s in (hole_app.top, hole_app.left, hole_app.size, hole_app.image)]
    assert limits == [(0, 27), (0, 27), (0, 28), (0, 4)]


def test_the_hole_app_refuses_a_wrong_start(inpainting: InpaintingCVAE) -> None:
    with pytest.raises(ValueError, match="images must be"):
        HoleExplorer(inpainting, random_images(2) * 255)
    with pytest.raises(ValueError, match="got 9"):
        HoleExplorer(inpainting, random_images(2), dimensions=(9,))
    plain = InpaintingCVAE(latent_dim=0, width=2, hidden=4)
    assert HoleExplorer(plain, random_images(2)).state.shifts == {}
    with pytest.raises(ValueError, match="shifts must be empty here, got 0"):
        HoleExplorer(plain, random_images(2), dimensions=(0,))


# ---------------------------------------------------------------- two threads


class Slow(DigitExplorer):
    """Reads the state early and draws late, on one of two threads."""

    def wait_for(self, thread: threading.Thread) -> None:
        self.thread, self.begun, self.go_on = thread, threading.Event(), threading.Event()

    def draw(self) -> Tensor:
        images = super().draw()
        if threading.current_thread() is getattr(self, "thread", None):
            self.begun.set()
            self.go_on.wait(1)
        return images


def test_a_picture_that_was_begun_earlier_is_not_shown_later(cvae: LabelCVAE) -> None:
    """The front end sends events of different controls to different threads of the kernel."""
    app = Slow(cvae)
    other = threading.Thread(target=app.redraw)
    app.wait_for(other)
    other.start()
    assert app.begun.wait(10)
    app.digit.value = 3
    app.go_on.set()
    other.join()
    assert app.picture.value == app.render()
