"""The apps of the playground without a browser: their pictures, and what the controls do."""

from __future__ import annotations

import errno
import io
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cvae_utils import data
from cvae_utils.models import CGAN, ConditionalVAE, InpaintingCVAE, LabelCVAE
from cvae_utils.widgets import (
    STILL,
    DigitExplorer,
    DrawingExplorer,
    DrawingState,
    DuelExplorer,
    DuelState,
    Explorer,
    ExplorerState,
    HoleExplorer,
    MorphExplorer,
    MorphState,
    Playground,
    Stroke,
    StyleExplorer,
    StyleState,
    duel,
    explore,
    fill_page,
    morph,
    page,
    restyle,
    saved_state,
)
from tests.conftest import full_disk

Maker = Callable[[], Explorer]


@pytest.fixture
def cgan() -> CGAN:
    torch.manual_seed(2)
    return CGAN(latent_dim=4, width=4, hidden=16).eval()


@pytest.fixture
def images(digits: data.Split) -> torch.Tensor:
    return data.to_unit(digits.images)


# ---------------------------------------------------------------- style


def test_a_style_row_is_a_handwritten_digit_and_its_code_under_ten_labels(
    cvae: LabelCVAE, digits: data.Split, images: torch.Tensor
) -> None:
    drawn = restyle(cvae, images, digits.labels, StyleState(7, 3), hands=2).view(2, 11, 28, 28)
    for row in drawn:
        (index,) = [n for n, image in enumerate(images) if torch.equal(image, row[0])]
        assert digits.labels[index] == 7
        with torch.no_grad():
            z = cvae.recognize(images[index : index + 1], torch.tensor([7])).mu
            for label in range(10):
                wanted = cvae.generate(z, torch.tensor([label]))[0]
                torch.testing.assert_close(row[1 + label], wanted)
    assert not torch.equal(drawn[0, 0], drawn[1, 0])


def test_a_style_needs_a_digit_that_is_there(cvae: LabelCVAE, images: torch.Tensor) -> None:
    twos = torch.full((len(images),), 2)
    with pytest.raises(ValueError, match=r"digit must be one of the labels \[2\], got 5"):
        restyle(cvae, images, twos, StyleState(5))
    with pytest.raises(ValueError, match="digit must be a whole number from 0 to 9, got 10"):
        restyle(cvae, images, twos, StyleState(10))
    assert len(restyle(cvae, images[:1], twos[:1], StyleState(2))) == 11  # one hand is all there is


def test_a_style_is_taken_with_the_model_at_rest(
    cvae: LabelCVAE, digits: data.Split, images: torch.Tensor
) -> None:
    layers = cvae.generation_net.get_submodule("layers")
    assert isinstance(layers, torch.nn.Sequential)
    layers.append(torch.nn.Dropout())
    drawn = restyle(cvae.train(), images, digits.labels, StyleState())
    assert cvae.training
    assert torch.equal(drawn, restyle(cvae.eval(), images, digits.labels, StyleState()))


def test_the_styles_begin_with_a_digit_that_is_there(
    cvae: LabelCVAE, digits: data.Split, images: torch.Tensor
) -> None:
    assert StyleExplorer(cvae, images, digits.labels).digit.value == 5
    others = digits.labels != 5
    app = StyleExplorer(cvae, images[others], digits.labels[others])
    assert app.digit.value == digits.labels[others][0]


# ---------------------------------------------------------------- morph


def test_the_edges_of_a_morph_are_the_two_labels_and_the_two_styles(echo: ConditionalVAE) -> None:
    grid = morph(echo, MorphState(3, 8, seed=5), columns=5, rows=3).view(3, 5, 28, 28)
    told = torch.logit(grid[:, :, 1, :10].double())  # what the network heard, (3, 5, 10)
    for column, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        wanted = torch.zeros(10, dtype=torch.float64)
        wanted[3], wanted[8] = 1 - share, share
        torch.testing.assert_close(told[:, column], wanted.expand(3, 10), atol=1e-5, rtol=0)
    codes = torch.logit(grid[:, :, 0, :4].double())
    above, below = torch.randn(2, 4, generator=torch.Generator().manual_seed(5)).double()
    torch.testing.assert_close(codes[0], above.expand(5, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(codes[2], below.expand(5, 4), atol=1e-4, rtol=0)
    # Half-way along the sphere: the sum over root two, not the mean.
    torch.testing.assert_close(codes[1, 0], (above + below) / 2**0.5, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("state", "message"),
    [(MorphState(10, 1), "first must be .* got 10"), (MorphState(1, -1), "last must be .* got -1")],
)
def test_a_morph_refuses_what_is_no_label(
    echo: ConditionalVAE, state: MorphState, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        morph(echo, state)


# ---------------------------------------------------------------- duel


def test_in_a_duel_all_models_get_the_same_codes_at_the_temperature(
    cvae: LabelCVAE, cgan: CGAN
) -> None:
    drawn = duel([cvae, cgan], DuelState(4, seed=2, temperature=0.5), count=3)
    z = 0.5 * torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    labels = torch.full((3,), 4)
    with torch.no_grad():
        wanted = torch.cat([cvae.generate(z, labels), cgan.generate(z, labels)])
    torch.testing.assert_close(drawn, wanted)


def test_a_duel_refuses_a_temperature_of_zero_and_no_models(cvae: LabelCVAE) -> None:
    with pytest.raises(ValueError, match=r"temperature must be .* got 0"):
        duel([cvae], DuelState(temperature=0))
    with pytest.raises(ValueError, match=r"number of models must be .* got 0"):
        duel([], DuelState())


# ---------------------------------------------------------------- the page


def test_ink_is_seen_with_the_paper_around_it_and_nothing_else(images: torch.Tensor) -> None:
    image, mask = page(images, DrawingState(None, (Stroke("ink", ((14.0, 5.0), (14.0, 20.0))),)))
    assert image[14, 5:21].min() == 1
    assert image[:12].max() == 0
    assert mask[14 - 2 : 14 + 3, 5:21].all()  # a brush of 2.5 pixels sees two on each side
    assert not mask[:11].any()
    assert not mask[:, 24:].any()


def test_the_tools_wipe_and_hide(images: torch.Tensor) -> None:
    everywhere = tuple((float(row), column) for row in range(0, 28, 4) for column in (0.0, 27.0))
    image, mask = page(images, DrawingState(3, (Stroke("paper", everywhere),)))
    assert image.max() == 0
    assert mask.all()
    dab = Stroke("hide", ((10.0, 12.0),))
    image, mask = page(images, DrawingState(3, (dab,)))
    assert torch.equal(image, images[3])  # kept below, so that ink can bring it back to sight
    rows, columns = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    near = (rows - 10) ** 2 + (columns - 12) ** 2 <= 2.5**2
    assert torch.equal(mask, ~near)


def test_ink_over_hidden_pixels_does_not_reveal_what_was_below(images: torch.Tensor) -> None:
    hide = Stroke("hide", tuple((float(row), 14.0) for row in range(28)))
    ink = Stroke("ink", ((0.0, 14.0),))
    row, column = divmod(int(images[0].flatten().argmax()), 28)
    dark = Stroke("hide", ((float(row), float(column)),))
    beside = Stroke("ink", ((float(row), float(column) - 2.4),))
    image, mask = page(images, DrawingState(0, (dark, beside)))
    assert mask[row, column]
    assert image[row, column] < 0.5
    assert (
        page(images, DrawingState(0, (hide, ink)))[1].sum()
        > page(images, DrawingState(0, (hide,)))[1].sum()
    )


def test_filling_a_page_keeps_what_is_visible(
    inpainting: InpaintingCVAE, images: torch.Tensor
) -> None:
    state = DrawingState(2, (Stroke("hide", ((8.0, 8.0), (20.0, 20.0))),), seed=4)
    _, mask = page(images, state)
    drawn = fill_page(inpainting, images, state, count=4)
    assert drawn.shape == (6, 28, 28)
    completions = drawn[[0, 1, 3, 4]]
    assert (completions[:, mask] == images[2][mask]).all()
    assert len({tuple(c[~mask].tolist()) for c in completions}) == 4
    torch.testing.assert_close(drawn[2], completions.mean(0))


def test_a_page_refuses_an_unknown_tool_and_image(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"tool must be .* got 'glue'"):
        page(images, DrawingState(None, (Stroke("glue", ((1.0, 1.0),)),)))
    with pytest.raises(ValueError, match="image must be from 0 to 99, got 100"):
        page(images, DrawingState(100))


def test_the_mouse_draws_and_only_while_it_is_pressed(
    inpainting: InpaintingCVAE, images: torch.Tensor
) -> None:
    app = DrawingExplorer(inpainting, images[:5])
    first = app.picture.value
    app.move(100, 100)
    app.end()
    assert app.strokes == []
    app.begin(55, 145)  # screen pixels, ten to one
    app.move(105, 145)
    app.move(155, 145)
    app.end()
    app.move(200, 20)
    assert app.strokes == [Stroke("ink", ((14.0, 5.0), (14.0, 10.0), (14.0, 15.0)))]
    assert app.message.value == ""
    drawn = app.picture.value
    assert drawn != first
    assert saved_state(drawn) == DrawingState(None, tuple(app.strokes), 0)
    app.tool.value = "hide"
    app.begin(100, 145)
    app.end(300, 300)  # the mouse left the page
    assert [stroke.tool for stroke in app.strokes] == ["ink", "hide"]
    app.again.click()
    assert app.strokes == []
    assert app.picture.value == first


def front_end(app: DrawingExplorer, event: str, x: float, y: float) -> None:
    """Tell the canvas what a browser does of a mouse or a finger; none is left at the end."""
    fingers = [] if event in ("touch_end", "touch_cancel") else [{"x": x, "y": y}]
    where = {"touches": fingers} if event.startswith("touch") else {"x": x, "y": y}
    app.canvas._handle_custom_msg({"event": event, **where}, [])


@pytest.mark.parametrize(
    ("begin", "move", "end"),
    [
        ("mouse_down", "mouse_move", "mouse_up"),
        ("mouse_down", "mouse_move", "mouse_out"),
        ("touch_start", "touch_move", "touch_end"),
        ("touch_start", "touch_move", "touch_cancel"),
    ],
)
def test_a_stroke_is_what_the_browser_tells_of_mouse_or_finger(
    inpainting: InpaintingCVAE, images: torch.Tensor, begin: str, move: str, end: str
) -> None:
    app = DrawingExplorer(inpainting, images[:5])
    for event, x in ((begin, 55), (move, 105), (move, 155), (end, 155), (move, 200)):
        front_end(app, event, x, 145)
    assert app.strokes == [Stroke("ink", ((14.0, 5.0), (14.0, 10.0), (14.0, 15.0)))]
    assert saved_state(app.picture.value) == app.state


@pytest.mark.parametrize(("pause", "fillings"), [(math.inf, 2), (-math.inf, 52)])
def test_between_two_fillings_is_a_pause_and_the_last_shows_the_whole_stroke(
    inpainting: InpaintingCVAE,
    images: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    pause: float,
    fillings: int,
) -> None:
    app, count = DrawingExplorer(inpainting, images[:5]), 0
    draw = app.draw

    def counted() -> torch.Tensor:
        nonlocal count
        count += 1
        return draw()

    assert app.PAUSE > 0
    monkeypatch.setattr(app, "PAUSE", pause)
    monkeypatch.setattr(app, "draw", counted)
    front_end(app, "mouse_down", 50, 50)
    for step in range(50):
        front_end(app, "mouse_move", 50 + 4 * step, 60)
    front_end(app, "mouse_up", 250, 60)
    assert count == fillings
    assert [len(stroke.points) for stroke in app.strokes] == [51]
    assert saved_state(app.picture.value) == app.state


def test_another_page_begins_without_strokes(
    inpainting: InpaintingCVAE, images: torch.Tensor
) -> None:
    app = DrawingExplorer(inpainting, images[:5])
    app.begin(50, 50)
    app.end()
    app.image.value = "image 3"
    assert app.state == DrawingState(3)
    assert saved_state(app.picture.value) == app.state
    # Nothing is hidden, so there is nothing to fill.
    mean, spread = app.draw()[[5, 11]]
    torch.testing.assert_close(mean, images[3])
    assert spread.max() == 0


# ---------------------------------------------------------------- all apps


@pytest.fixture
def makers(
    cvae: LabelCVAE, cgan: CGAN, inpainting: InpaintingCVAE, digits: data.Split,
    images: torch.Tensor,
) -> dict[str, Maker]:  # fmt: skip
    return {
        "digit": lambda: DigitExplorer(cvae),
        "style": lambda: StyleExplorer(cvae, images, digits.labels),
        "morph": lambda: MorphExplorer(cvae),
        "duel": lambda: DuelExplorer({"CVAE": cvae, "CGAN": cgan}),
        "hole": lambda: HoleExplorer(inpainting, images[:5]),
        "drawing": lambda: DrawingExplorer(inpainting, images[:5]),
    }


APPS = ["digit", "style", "morph", "duel", "hole", "drawing"]


@pytest.mark.parametrize("name", APPS)
def test_every_app_begins_draws_resamples_and_comes_back(
    name: str, makers: dict[str, Maker]
) -> None:
    app = makers[name]()
    first = app.picture.value
    assert name == app.NAME.removesuffix("-explorer")
    assert saved_state(first) == app.state
    assert saved_state(first).seed == 0
    app.resample.click()
    assert app.message.value == ""
    assert saved_state(app.picture.value).seed == 1
    assert app.picture.value != first
    app.seed.value = 0
    assert app.picture.value == first
    assert makers[name]().picture.value == first  # a function of its state alone


@pytest.mark.parametrize("name", APPS)
def test_every_slider_of_every_app_changes_the_picture_and_back(
    name: str, makers: dict[str, Maker]
) -> None:
    app = makers[name]()
    first = app.picture.value
    controls = [c for c in (*app.children[0].children, *app.children[1].children)
                if hasattr(c, "min") and c is not app.seed]  # fmt: skip
    assert len(controls) == {"digit": 4, "style": 1, "morph": 2, "duel": 2, "hole": 7,
                             "drawing": 0}[name]  # fmt: skip
    seen = {first}
    for control in controls:
        before = control.value
        control.value = control.min if before != control.min else control.max
        assert app.message.value == ""
        seen.add(app.picture.value)
        control.value = before
        assert app.picture.value == first
    assert len(seen) == 1 + len(controls)


@pytest.mark.parametrize("name", APPS)
def test_save_keeps_the_picture_and_says_where(
    name: str, makers: dict[str, Maker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = makers[name]()
    app.resample.click()
    app.save.click()
    (saved,) = (tmp_path / "pictures").iterdir()
    assert saved.read_bytes() == app.picture.value
    assert saved_state(saved) == saved_state(str(saved)) == app.state
    assert f"pictures/{saved.name}" in app.message.value
    app.save.click()
    assert len(list((tmp_path / "pictures").iterdir())) == 1  # the same picture once


def test_a_picture_that_cannot_be_saved_says_so(
    makers: dict[str, Maker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").write_text("a file is in the way")
    app = makers["digit"]()
    app.save.click()
    assert "FileExistsError" in app.message.value
    assert (tmp_path / "pictures").read_text() == "a file is in the way"


@pytest.mark.reliability(
    "widgets",
    "*Save* without permission, on a read-only or full disk, and cut off in the middle",
    "the app says so; no half file, and a later *Save* keeps the picture",
)
def test_a_disk_that_refuses_a_picture_leaves_nothing_and_is_told(
    makers: dict[str, Maker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    app = makers["digit"]()
    folder = tmp_path / app.FOLDER

    def refuse(number: int) -> Callable[..., None]:
        def call(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        return call

    refusals = [
        (place, name, number)
        for place, name in ((Path, "open"), (os, "fsync"), (Path, "replace"))
        for number in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)
    ]
    for place, name, number in refusals:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, refuse(number))
            app.save.click()
        assert os.strerror(number) in app.message.value
        assert list(folder.iterdir()) == []
    with full_disk(len(app.picture.value) // 2):
        app.save.click()  # half of it is written, then the system says no
    assert os.strerror(errno.EFBIG) in app.message.value
    assert list(folder.iterdir()) == []
    app.save.click()
    assert [file.read_bytes() for file in folder.iterdir()] == [app.picture.value]
    record_property("cases", len(refusals) + 1)


def controls_of(app: Explorer) -> list[ipywidgets.ValueWidget]:
    """Return everything in an app that has a value a person can change."""
    parts: list[ipywidgets.Widget] = [*app.children[:2]]  # above the picture
    for part in parts:
        parts += getattr(part, "children", ())
    return [part for part in parts if hasattr(part, "value")]


def random_value(control: ipywidgets.ValueWidget, chance: random.Random) -> Any:
    if hasattr(control, "options"):
        return chance.choice(control.options)
    if isinstance(control.min, int):
        return chance.randint(control.min, control.max)
    return round(chance.uniform(control.min, control.max), 1)


@pytest.mark.reliability(
    "widgets",
    "hundreds of random values for the controls of an app, as fast as they come",
    "bit for bit the picture of an app that was set to the last ones alone",
)
@pytest.mark.parametrize("name", APPS)
def test_after_a_storm_the_last_values_alone_decide(
    name: str, makers: dict[str, Maker], record_property: Callable[[str, object], None]
) -> None:
    app, fresh, chance, count = makers[name](), makers[name](), random.Random(name), 200  # noqa: S311
    for _ in range(count):
        control = chance.choice(controls_of(app))
        control.value = random_value(control, chance)
        if isinstance(app, DrawingExplorer):
            chance.choice([app.begin, app.move, app.end])(*(chance.uniform(-50, 330),) * 2)
        assert app.message.value == ""
    if isinstance(app, DrawingExplorer) and isinstance(fresh, DrawingExplorer):
        app.end()
        fresh.image.value = app.image.value  # which wipes the page
        fresh.strokes = list(app.strokes)
    for old, new in zip(controls_of(app), controls_of(fresh), strict=True):
        new.value = old.value
    fresh.redraw()
    assert app.picture.value == fresh.picture.value
    record_property("cases", count)


@pytest.mark.reliability(
    "security",
    "the model fails with HTML in its message, for each control of each app",
    "the app shows it as text, keeps the last good picture, and goes on with the next good state",
)
@pytest.mark.parametrize("name", APPS)
def test_a_failing_model_is_shown_as_text_whichever_control_asked(
    name: str,
    makers: dict[str, Maker],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    app, chance = makers[name](), random.Random(name)  # noqa: S311

    def fail() -> torch.Tensor:
        raise RuntimeError("<script>no ink</script> & <img src=x onerror=alert(1)>")

    def another(control: ipywidgets.ValueWidget) -> Callable[[], None]:
        def change() -> None:
            before = control.value
            while control.value == before:
                control.value = random_value(control, chance)

        return change

    controls = [c for c in controls_of(app) if not isinstance(c, ipywidgets.ToggleButtons)]
    events = [app.resample.click, app.centre.click, *(another(control) for control in controls)]
    if isinstance(app, DrawingExplorer):
        events += [app.again.click, lambda: app.begin(50, 50), app.end]
    for event in events:
        good = app.picture.value
        with monkeypatch.context() as patch:
            patch.setattr(app, "draw", fail)
            event()
            assert "RuntimeError: &lt;script&gt;no ink&lt;/script&gt; &amp;" in app.message.value
            assert not {"<script", "<img"} & set(app.message.value.split())
            assert app.picture.value == good
        app.resample.click()
        assert app.message.value == ""
        assert app.picture.value == app.render()
    record_property("cases", len(events))


@pytest.mark.reliability(
    "input", "*Resample* at the largest seed there is", "the seeds begin anew at 0"
)
def test_resample_goes_on_after_the_last_seed(makers: dict[str, Maker]) -> None:
    app = makers["digit"]()
    first = app.picture.value
    app.seed.value = app.seed.max
    app.resample.click()
    assert app.seed.value == 0
    assert app.picture.value == first


@pytest.mark.reliability(
    "widgets",
    "the page is cleared or changed in the middle of a stroke",
    "the stroke is gone with the others, and the next one begins anew",
)
def test_a_page_cleared_in_the_middle_of_a_stroke(
    makers: dict[str, Maker], record_property: Callable[[str, object], None]
) -> None:
    app = makers["drawing"]()
    assert isinstance(app, DrawingExplorer)
    changes = [app.again.click, lambda: setattr(app.image, "value", "image 2")]
    for change in changes:
        app.begin(50, 50)
        change()
        app.move(60, 60)  # would be an error in a log: there is no stroke to lead on
        app.end()
        assert app.strokes == []
        assert app.picture.value == app.render()
        app.begin(50, 50)
        app.move(60, 60)
        app.end()
        assert [len(stroke.points) for stroke in app.strokes] == [2]
    record_property("cases", len(changes))


def test_a_picture_of_traps_holds_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    notes, traps = PngInfo(), [io.BytesIO(), io.BytesIO()]
    notes.add_text("settings", "[" * 100_000 + "]" * 100_000)
    Image.new("L", (1, 1)).save(traps[0], "PNG", pnginfo=notes)
    Image.new("L", (100, 100)).save(traps[1], "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # or it would have to be a huge one
    for trap, why in zip(traps, ("RecursionError", "DecompressionBombError"), strict=True):
        with pytest.raises(ValueError, match=f"^picture must be a PNG .* got one without .{why}"):
            saved_state(trap.getvalue())


def test_the_settings_of_a_picture_bring_it_back(cvae: LabelCVAE) -> None:
    app = DigitExplorer(cvae)
    app.digit.value, app.seed.value, app.shifts[1].value = 3, 12, -1.5
    state = saved_state(app.picture.value)
    assert isinstance(state, ExplorerState)
    assert state.shifts[1] == -1.5
    torch.testing.assert_close(explore(cvae, state), app.draw())


def test_the_playground_has_all_apps_and_links_to_notebooks_that_are_there(
    cvae: LabelCVAE, cgan: CGAN, inpainting: InpaintingCVAE, digits: data.Split
) -> None:
    with pytest.raises(ValueError, match=r"^sliders must be .* got 0"):
        Playground(cvae, cgan, inpainting, digits, sliders=0)
    playground = Playground(cvae, cgan, inpainting, digits, sliders=3)
    assert sorted(app.NAME for app in playground.apps) == sorted(
        f"{name}-explorer" for name in APPS
    )
    assert len(playground.titles) == len(playground.children) == len(playground.apps)
    notebooks = Path(__file__).resolve().parent.parent / "notebooks"
    for app, child in zip(playground.apps, playground.children, strict=True):
        shown, note = child.children
        assert shown is app
        target = note.value.split('href="')[1].split('"')[0]
        assert (notebooks / target).is_file()
    first = playground.apps[0]
    assert isinstance(first, DigitExplorer)
    assert len(first.shifts) == 3
    for dimension, slider in first.shifts.items():
        assert slider.description.endswith(f", z[{dimension}]")
    bundle = playground._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == playground.model_id
    assert bundle["image/png"] == first._repr_mimebundle_()["image/png"]
    assert bundle["text/plain"] == STILL
