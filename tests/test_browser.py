"""The slider apps as a person meets them: JupyterLab, a real browser, mouse and keyboard."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, TimeoutError, sync_playwright

from cvae_utils import checkpoints, data
from cvae_utils.widgets import HoleState, fill, png
from cvae_utils.widgets.explorer import LOST
from tests.browser import (
    CHROMIUM,
    ask,
    begin,
    command,
    jupyter_lab,
    open_notebook,
    request,
    run_all_cells,
    tell,
)

ROOT = Path(__file__).resolve().parent.parent
PLAYGROUND = ROOT / "notebooks" / "00_playground.ipynb"
DIGITS, HOLE, DRAWING = ".digit-explorer", ".hole-explorer", ".drawing-explorer"
TABS = ["Digits", "Style", "Morph", "Fill a hole", "Draw", "CVAE and GAN"]

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")

# Lesson -> what its app uses, made here in seconds; the app's cell itself comes from the notebook.
LESSONS = {
    "02_label_cvae": 'cvae, order = checkpoints.load_vae("label_cvae"), [0, 1, 2]',
    "03_conv_cvae": 'conv, order = checkpoints.load_vae("conv_cvae"), list(range(6))',
    "04_inpainting_cvae": """general = checkpoints.load_inpainting("inpainting_mixed")
thousand = data.to_unit(dataset.test.images[:100])
doubtful, hole = thousand[:8], masks.centre(10)""",
    "05_cgan": 'cgan = checkpoints.load_gan("cgan")',
}
IMPORTS = """import torch
from cvae_utils import checkpoints, data, masks, objectives, widgets
dataset = data.load(download=False)"""

# Small untrained models behind one app and a playground: what happens to the page is what counts.
TRIAL = (
    """import time, torch
from cvae_utils import data, widgets
from cvae_utils.models import CGAN, InpaintingCVAE, LabelCVAE
torch.manual_seed(1)
cvae, cgan = LabelCVAE(latent_dim=4, width=16), CGAN(latent_dim=4, width=4, hidden=16).eval()
inpainting = InpaintingCVAE(latent_dim=4, width=4, hidden=16)
for parameter in cvae.parameters():
    parameter.data.mul_(3)
digits = data.load(download=False).test.take(100)""",
    """class Trial(widgets.DigitExplorer):
    pause, error = 0.0, ""

    def draw(self):
        time.sleep(self.pause)
        if self.error:
            raise RuntimeError(self.error)
        return super().draw()

app = Trial(cvae)
app.add_class("trial")
app""",
    """playground = widgets.Playground(cvae, cgan, inpainting, digits)
playground""",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Browser]]:
    """A JupyterLab with the playground and the lessons' apps, and a browser to open them in."""
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    playground = nbformat.read(PLAYGROUND, as_version=4)
    nbformat.write(playground, root / "saved.ipynb")  # with its outputs, never run
    for cell in playground.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(playground, root / PLAYGROUND.name)
    cells = [nbformat.v4.new_code_cell(IMPORTS)]
    for lesson, needed in LESSONS.items():
        notebook = nbformat.read(PLAYGROUND.with_name(f"{lesson}.ipynb"), as_version=4)
        (app,) = [c.source for c in notebook.cells
                  if c.cell_type == "code" and "Explorer(" in c.source]  # fmt: skip
        cells.append(nbformat.v4.new_code_cell(f"{needed}\n{app}"))
    lessons = nbformat.v4.new_notebook(cells=cells, metadata=playground.metadata)
    nbformat.write(lessons, root / "lessons.ipynb")
    nbformat.write(lessons, root / "02_label_cvae.ipynb")  # what a link leads to
    cells = [nbformat.v4.new_code_cell(source) for source in TRIAL]
    trial = nbformat.v4.new_notebook(cells=cells, metadata=playground.metadata)
    nbformat.write(trial, root / "trial.ipynb")
    with jupyter_lab(root, home) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield address, browser
        browser.close()


@pytest.fixture(scope="module")
def page(lab: tuple[str, Browser]) -> Iterator[Page]:
    """The playground, run."""
    address, browser = lab
    page = browser.new_page(viewport={"width": 1200, "height": 1100})
    open_notebook(page, address, PLAYGROUND.name)
    assert run_all_cells(page, timeout=120_000) == []
    page.locator(f"{DIGITS} img").wait_for(timeout=30_000)
    yield page
    shots = ROOT / "build" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    for title in TABS:
        tab(page, title)
        page.wait_for_timeout(300)
        name = title.lower().replace(" ", "_")
        page.locator(".playground").screenshot(path=shots / f"{name}.png")
    page.close()


@pytest.fixture(scope="module")
def lessons(lab: tuple[str, Browser]) -> Iterator[Page]:
    """The apps of the lessons in one notebook, run."""
    address, browser = lab
    page = browser.new_page(viewport={"width": 1200, "height": 1100})
    open_notebook(page, address, "lessons.ipynb")
    assert run_all_cells(page, timeout=120_000) == []
    yield page
    page.close()


@pytest.fixture(scope="module")
def trial(lab: tuple[str, Browser]) -> Iterator[Page]:
    """One app and a playground of untrained models, run."""
    address, browser = lab
    page = browser.new_page(viewport={"width": 1200, "height": 1100})
    open_notebook(page, address, "trial.ipynb")
    assert run_all_cells(page, timeout=120_000) == []
    page.locator(".trial img").wait_for(timeout=30_000)
    yield page
    page.close()


def tab(page: Page, title: str) -> Locator:
    """Open one tab of the playground; return its app."""
    page.locator(".playground").get_by_role("tab", name=title, exact=True).click()
    return page.locator(".playground .widget-tab-contents > :not(.lm-mod-hidden)").first


def no_room(app: Locator) -> list[str]:
    """Return the boxes of the playground that scroll sideways, and the titles that are cut."""
    found: list[str] = app.evaluate(
        """app => ['.widget-box', '.lm-TabBar-tabLabel']
            .flatMap(kind => [...app.closest('.playground').querySelectorAll(kind)])
            .filter(element => element.scrollWidth > element.clientWidth)
            .map(element => element.className)"""
    )
    return found


def shown(app: Locator) -> bytes:
    """Return the pixels that an app shows, as a PNG; empty while none is decoded."""
    address = app.locator("img").first.evaluate(
        """image => {
            if (!image.complete || !image.naturalWidth) return '';
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext('2d').drawImage(image, 0, 0);
            return canvas.toDataURL();
        }"""
    )
    return base64.b64decode(address.partition(",")[2])


def grey(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("L"), dtype=np.int64)


def digits_read(picture: bytes) -> list[int]:
    """Let the classifier read the digits of a picture that is twice enlarged."""
    pixels = grey(picture).astype(np.float32) / 255
    side = 2 * 32  # 28 pixels and a gap of 4
    rows, columns = (pixels.shape[0] + 8) // side, (pixels.shape[1] + 8) // side
    tiles = [
        pixels[side * row : side * row + 56, side * column : side * column + 56]
        for row in range(rows)
        for column in range(columns)
    ]
    ink = 1 - torch.from_numpy(np.stack(tiles))
    images = torch.nn.functional.avg_pool2d(ink.unsqueeze(1), 2).squeeze(1)
    return checkpoints.load_classifier().read(images.clamp(0, 1)).tolist()


def until(page: Page, found: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait up to a minute for something to come true: a machine may be busy."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found():
            return
        page.wait_for_timeout(100)
    raise AssertionError(what())


def settled(page: Page, digit: int, app: str = DIGITS) -> bytes:
    """Wait until the picture shows the digit asked for, and return it."""
    place = page.locator(app)

    def found() -> bool:
        picture = shown(place)
        # 17 of 20: about one sample in a hundred is not read as its label.
        return bool(picture) and digits_read(picture).count(digit) >= 17

    until(page, found, lambda: f"asked for {digit}, it shows {digits_read(shown(place))}")
    return shown(place)


def changed(page: Page, app: Locator, before: bytes) -> bytes:
    """Wait for another picture, and return it."""
    until(page, lambda: shown(app) not in (b"", before), lambda: "the picture did not change")
    return shown(app)


def back(page: Page, app: Locator, before: bytes) -> None:
    """Wait until an earlier picture is back, to the pixel."""
    until(page, lambda: shown(app) == before, lambda: "the earlier picture did not come back")


def test_a_saved_playground_shows_a_still_picture_before_it_is_run(
    lab: tuple[str, Browser],
) -> None:
    address, browser = lab
    page = browser.new_page(viewport={"width": 1200, "height": 1100})
    open_notebook(page, address, "saved.ipynb")
    output = page.locator(".jp-OutputArea-output").first
    output.locator("img").wait_for(timeout=30_000)
    picture = shown(output)
    assert digits_read(picture)[:20].count(7) >= 17
    # The sentence stands in lines of its own below the digits.
    assert grey(picture)[2 * (2 * 32 - 4) + 2 :].min() < 128
    page.close()


def test_the_playground_opens_on_sevens(page: Page) -> None:
    assert len(digits_read(settled(page, 7))) == 20


@pytest.mark.parametrize("title", TABS)
def test_every_slider_of_a_tab_has_room_and_follows_the_keyboard(page: Page, title: str) -> None:
    app = tab(page, title)
    frame, sliders = app.bounding_box(), app.locator(".noUi-target").all()
    assert frame
    assert len(sliders) == {"Digits": 7, "Style": 1, "Morph": 2, "Fill a hole": 4, "Draw": 0,
                            "CVAE and GAN": 2}[title]  # fmt: skip
    for slider in sliders:
        track = slider.bounding_box()
        assert track
        assert track["width"] > 80
        assert track["x"] + track["width"] <= frame["x"] + frame["width"]
        before = shown(app)
        slider.locator(".noUi-handle").focus()
        page.keyboard.press("ArrowRight")
        changed(page, app, before)
        page.keyboard.press("ArrowLeft")
        back(page, app, before)


@pytest.mark.parametrize("title", TABS)
def test_resample_draws_anew_and_the_seed_brings_the_picture_back(page: Page, title: str) -> None:
    app = tab(page, title)
    before = shown(app)
    app.get_by_role("button", name="Resample").click()
    changed(page, app, before)
    seed = app.locator("input[type=number]")
    seed.fill("0")
    seed.press("Enter")
    back(page, app, before)


def test_the_digit_slider_shows_the_digit_asked_for(page: Page) -> None:
    app = tab(page, "Digits")
    app.locator(".noUi-handle").first.focus()
    for key, digit in [("ArrowLeft", 6), ("ArrowLeft", 5), ("ArrowRight", 6), ("ArrowRight", 7)]:
        page.keyboard.press(key)
        settled(page, digit)


def test_after_two_hundred_moves_the_last_position_wins_without_a_backlog(page: Page) -> None:
    app = tab(page, "Digits")
    settled(page, 7)
    track = app.locator(".noUi-target").first.bounding_box()
    knob = app.locator(".noUi-handle").first.bounding_box()
    assert track
    assert knob
    height = knob["y"] + knob["height"] / 2
    page.mouse.move(knob["x"] + knob["width"] / 2, height)
    page.mouse.down()
    for place in [0.1, 0.9, 0.2, 0.8, 0.0, 1.0, 0.3, 0.7] * 25 + [1 / 3]:  # 3 of 0 to 9
        page.mouse.move(track["x"] + track["width"] * place, height)
    page.mouse.up()
    last = settled(page, 3)
    page.wait_for_timeout(1000)
    assert shown(app) == last
    page.keyboard.press("Home")
    settled(page, 0)
    app.locator(".noUi-handle").first.focus()
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    settled(page, 7)


def test_the_hole_is_where_the_sliders_say(page: Page) -> None:
    app = tab(page, "Fill a hole")
    model = checkpoints.load_inpainting("inpainting_mixed")
    images = data.to_unit(data.load(download=False).test.images[:20])
    handles = app.locator(".noUi-handle")
    for index, state in enumerate([
        HoleState(image=1),
        HoleState(image=1, top=10),
        HoleState(image=1, top=10, left=10),
        HoleState(image=1, top=10, left=10, size=11),
    ]):  # fmt: skip
        handles.nth(index).focus()
        page.keyboard.press("ArrowRight")
        wanted = grey(png(fill(model, images, state), columns=7, zoom=3))

        def found(wanted: np.ndarray = wanted) -> bool:
            picture = shown(app)
            # Sums in another order may round otherwise.
            return bool(picture) and bool(np.abs(grey(picture) - wanted).max() <= 1)

        until(page, found, lambda state=state: f"the page does not show {state}")  # type: ignore[misc]


def test_a_stroke_of_the_mouse_is_filled_on_from(page: Page) -> None:
    app = tab(page, "Draw")
    canvas = app.locator("canvas")
    before = shown(app)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    x, y = box["x"], box["y"]
    page.mouse.move(x + 140, y + 30)
    page.mouse.down()
    page.mouse.move(x + 140, y + 150, steps=12)
    page.mouse.up()
    changed(page, app, before)
    page.wait_for_timeout(1000)  # while the mouse moves, pictures come in between
    # Rows 3 to 14 of column 14 are ink in all ten completions, thrice enlarged.
    pixels = grey(shown(app))
    for column in range(5):
        for row in range(2):
            at = (96 * row + 3 * 9, 96 * column + 3 * 14)
            assert pixels[at] < 60
    app.get_by_role("button", name="Start over").click()
    back(page, app, before)


def test_save_says_where_the_picture_is(page: Page) -> None:
    app = tab(page, "Digits")
    app.get_by_role("button", name="Save").click()
    app.get_by_text("with its settings inside").wait_for(timeout=60_000)


def test_a_note_leads_to_the_notebook_that_explains_it(page: Page) -> None:
    app = tab(page, "Morph")
    with page.context.expect_page() as opened:
        app.get_by_role("link", name="Notebook 02").click()
    notebook = opened.value
    notebook.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.context?.path === '02_label_cvae.ipynb'",
        timeout=60_000,
    )
    notebook.close()


@pytest.mark.parametrize("number", range(len(LESSONS)), ids=list(LESSONS))
def test_the_app_of_a_lesson_follows_its_sliders(lessons: Page, number: int) -> None:
    app = lessons.locator(".digit-explorer, .hole-explorer").nth(number)
    app.scroll_into_view_if_needed()
    first = shown(app)
    handles = app.locator(".noUi-handle")
    assert handles.count() == (4, 7, 7, 4)[number]
    for index in range(handles.count()):
        before = shown(app)
        handles.nth(index).focus()
        lessons.keyboard.press("ArrowRight")
        changed(lessons, app, before)
        lessons.keyboard.press("ArrowLeft")
        back(lessons, app, before)
    app.get_by_role("button", name="Resample").click()
    changed(lessons, app, first)


# ---------------------------------------------------------------- storms


def agreed(page: Page, app: Locator) -> bytes:
    """Wait until page, controls and kernel agree on the trial app, bit for bit; return the PNG."""
    wanted, seen = b"", ""

    def found() -> bool:
        nonlocal wanted, seen
        values = "[c.value for c in (app.digit, app.seed, *app.shifts.values())]"
        handles = app.locator(".noUi-handle").all()
        digit, *shifts = (float(h.get_attribute("aria-valuenow") or "nan") for h in handles)
        seed = float(app.locator("input[type=number]").input_value() or "nan")
        told: list[float] = ask(page, values)
        wanted = base64.b64decode(
            ask(page, "__import__('base64').b64encode(app.render()).decode()")
        )
        same = np.array_equal(rgb(shown(app)), rgb(wanted))
        seen = f"page {[digit, seed, *shifts]}, kernel {told}, the picture is the kernel's: {same}"
        return same and [digit, seed, *shifts] == pytest.approx(told)

    until(page, found, lambda: f"page and kernel do not agree: {seen}")
    assert ask(page, "app.message.value") == ""
    return wanted


def rgb(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")) if picture else np.empty(0)


def count_pictures(app: Locator) -> None:
    """From now on, let the page count the pictures that the app gets."""
    app.locator("img").evaluate(
        """image => {
            window.pictures = 0;
            new MutationObserver(() => { window.pictures += 1 })
                .observe(image, {attributes: true, attributeFilter: ['src']});
        }"""
    )


def drag(page: Page, slider: Locator, places: list[float]) -> None:
    """Lead the knob of a slider with the mouse to parts of its track, one after the other."""
    slider.scroll_into_view_if_needed()
    track, knob = slider.bounding_box(), slider.locator(".noUi-handle").bounding_box()
    assert track
    assert knob
    height = knob["y"] + knob["height"] / 2
    page.mouse.move(knob["x"] + knob["width"] / 2, height)
    page.mouse.down()
    for place in places:
        page.mouse.move(track["x"] + track["width"] * place, height)
    page.mouse.up()


@pytest.mark.reliability(
    "widgets",
    "the mouse and the arrow keys move sliders far faster than pictures are drawn",
    "bit for bit the picture of the last state, and at most three pictures after the last event",
)
def test_a_storm_of_slider_moves_ends_in_the_picture_of_the_last_state(
    trial: Page, record_property: Callable[[str, object], None]
) -> None:
    app, cases = trial.locator(".trial"), 0
    tell(trial, "app.pause = 0.1")  # a slow machine
    count_pictures(app)
    sliders = app.locator(".noUi-target")
    for slider in (sliders.first, sliders.last):
        places = [0.1, 0.9, 0.2, 0.8, 0.0, 1.0, 0.3, 0.7] * 12 + [0.5]
        drag(trial, slider, places)
        at_once = trial.evaluate("window.pictures")
        agreed(trial, app)
        trial.wait_for_timeout(500)
        assert trial.evaluate("window.pictures") - at_once <= 3
        slider.locator(".noUi-handle").focus()
        keys = ["Home", *["ArrowRight"] * 7, "End", *["ArrowLeft"] * 12]
        for key in keys:
            trial.keyboard.press(key)
        at_once = trial.evaluate("window.pictures")
        agreed(trial, app)
        trial.wait_for_timeout(500)
        assert trial.evaluate("window.pictures") - at_once <= 3
        cases += len(places) + len(keys)
    tell(trial, "app.pause = 0.0")
    record_property("cases", cases)


@pytest.mark.reliability(
    "widgets",
    "a cell sets controls in a loop while the mouse drags one of them and *Resample* is clicked",
    "page, controls and kernel agree in the end, bit for bit",
)
def test_kernel_and_mouse_at_once_end_in_one_state(
    trial: Page, record_property: Callable[[str, object], None]
) -> None:
    app = trial.locator(".trial")
    begin(trial, "for i in range(100): app.seed.value = i; app.digit.value = i % 10")
    drag(trial, app.locator(".noUi-target").last, [0.2, 0.8, 0.5, 0.9] * 25)
    for _ in range(10):
        app.get_by_role("button", name="Resample").click()
    drag(trial, app.locator(".noUi-target").first, [0.2, 0.8, 0.5, 0.9] * 25)
    agreed(trial, app)
    record_property("cases", 2 * 100 + 2 * 100 + 10)


@pytest.mark.reliability(
    "input", "nonsense in the seed's text field", "a seed within its limits, and its picture"
)
def test_nonsense_for_a_seed_is_brought_within_limits(
    trial: Page, record_property: Callable[[str, object], None]
) -> None:
    app = trial.locator(".trial")
    seed = app.locator("input[type=number]")
    given = ["abc", "", "-5", "3.7", "1e99", "99999999999", "--", "e", "0x10", "1,5", " ", "+7"]
    for text in given:
        seed.press("Control+a")
        seed.press("Delete")
        trial.keyboard.type(text)
        seed.press("Enter")
        trial.keyboard.press("Tab")
        agreed(trial, app)
        assert 0 <= ask(trial, "app.seed.value") <= 10**9
    after = "app => getComputedStyle(app, '::after').content"
    assert app.evaluate(after) == "none"
    seed.focus()
    assert app.evaluate(after) == '"A seed is a whole number from 0 to 1000000000."'
    app.get_by_role("button", name="Resample").click()
    agreed(trial, app)
    record_property("cases", len(given))


def painted(canvas: Locator) -> list[int]:
    """Count the pixels of a canvas that are painted, and the black ones among them."""
    counts: list[int] = canvas.evaluate(
        """canvas => {
            const {data} = canvas.getContext('2d')
                .getImageData(0, 0, canvas.width, canvas.height);
            let [some, black] = [0, 0];
            for (let i = 0; i < data.length; i += 4) {
                some += data[i + 3] > 0;
                black += data[i + 3] > 0 && data[i] + data[i + 1] + data[i + 2] < 30;
            }
            return [some, black];
        }"""
    )
    return counts


def test_a_page_that_comes_later_shows_the_drawing_and_goes_on(
    lab: tuple[str, Browser], trial: Page
) -> None:
    """The kernel keeps what controls stand at; what is on a canvas only its app knows."""
    address, browser = lab
    command(trial, "docmanager:save")
    trial.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
    page = browser.new_page(viewport={"width": 1200, "height": 1100})
    open_notebook(page, address, "trial.ipynb")  # in the same kernel
    app = tab(page, "Draw")
    canvas = app.locator("canvas")
    canvas.scroll_into_view_if_needed()
    until(page, lambda: painted(canvas) == [280 * 280, 0], lambda: f"painted: {painted(canvas)}")
    before, box = shown(app), canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + 140, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 150, steps=12)
    page.mouse.up()
    until(page, lambda: painted(canvas)[1] > 20 * 100, lambda: f"painted: {painted(canvas)}")
    changed(page, app, before)
    app.get_by_role("button", name="Start over").click()
    back(page, app, before)
    page.close()


# ---------------------------------------------------------------- errors


@pytest.mark.reliability(
    "security",
    "HTML and scripts in an error's text and in the name of the folder that pictures are saved in",
    "shown as text, run nothing; the next good state goes on",
)
def test_html_in_errors_and_file_names_is_text(
    trial: Page, record_property: Callable[[str, object], None]
) -> None:
    app, attacks = trial.locator(".trial"), [
        "<img src=x onerror='window.attacked = 1'>",
        "<script>window.attacked = 1</script>",
        "<svg onload='window.attacked = 1'></svg>",
        "&lt;b&gt; <b>bold</b> </style></b>",
    ]  # fmt: skip
    handle = app.locator(".noUi-handle").first
    tell(trial, "app.digit.value = 9")
    for attack in attacks:
        tell(trial, f"app.error = {attack!r}")
        handle.focus()
        trial.keyboard.press("ArrowRight")
        trial.keyboard.press("ArrowLeft")
        app.get_by_text(f"RuntimeError: {attack}").wait_for(timeout=60_000)
        tell(trial, "app.error = ''")
        trial.keyboard.press("ArrowLeft")
        agreed(trial, app)
        folder = attack.replace("/", "-")
        tell(trial, f"app.FOLDER = {folder!r}")
        app.get_by_role("button", name="Save").click()
        app.get_by_text(f"Saved as {folder}").wait_for(timeout=60_000)
        trial.keyboard.press("Tab")
        tell(trial, "app.redraw()")
        agreed(trial, app)
    assert trial.evaluate("window.attacked") is None
    record_property("cases", 2 * len(attacks))


# ---------------------------------------------------------------- a phone's width


@pytest.mark.reliability(
    "widgets",
    "the window is narrowed to 390 pixels during a drag, each tab used there, and widened again",
    "nothing sticks out, pictures keep their proportions, sliders their use and their state",
)
def test_a_window_of_a_phones_width(
    trial: Page, record_property: Callable[[str, object], None]
) -> None:
    app = tab(trial, "Digits")
    slider = app.locator(".noUi-target").first
    slider.scroll_into_view_if_needed()
    knob = slider.locator(".noUi-handle").bounding_box()
    assert knob
    trial.mouse.move(knob["x"] + 5, knob["y"] + 5)
    trial.mouse.down()
    trial.mouse.move(knob["x"] - 30, knob["y"] + 5)
    trial.set_viewport_size({"width": 390, "height": 844})
    trial.mouse.move(knob["x"] - 60, knob["y"] + 5)
    trial.mouse.up()
    states = "[repr(app.state) for app in playground.apps]"
    for title in TABS:
        app = tab(trial, title)
        trial.wait_for_timeout(200)
        wide, bent = app.evaluate(
            """app => {
                const edge = app.closest('.jp-OutputArea-output').getBoundingClientRect().right;
                const all = [...app.closest('.playground').querySelectorAll('*')]
                    .map(element => [element, element.getBoundingClientRect()])
                    .filter(([element, box]) => box.width);
                const wide = all.filter(([element, box]) => box.right > edge + 1)
                    .map(([element]) => element.className);
                const bent = all.filter(([element]) => ['IMG', 'CANVAS'].includes(element.tagName))
                    .map(([{naturalWidth, naturalHeight, width, height, tagName}, box]) =>
                        tagName === 'IMG' ? [naturalWidth / naturalHeight, box.width / box.height]
                                          : [width / height, box.width / box.height])
                    .filter(([wanted, found]) => Math.abs(found / wanted - 1) > 0.03);
                return [wide, bent];
            }"""
        )
        assert (wide, bent) == ([], []), title
        assert no_room(app) == [], title
        for slider in app.locator(".noUi-target").all():
            track = slider.bounding_box()
            assert track
            assert track["width"] > 40
            handle = slider.locator(".noUi-handle")
            before, first = ask(trial, states), handle.get_attribute("aria-valuenow")
            handle.focus()
            trial.keyboard.press(
                "Home" if first != handle.get_attribute("aria-valuemin") else "End"
            )
            until(trial, lambda old=before: ask(trial, states) != old, lambda: "it stands still")  # type: ignore[misc]
    narrow = ask(trial, states)
    trial.set_viewport_size({"width": 853, "height": 600})
    for title in TABS:
        app = tab(trial, title)
        trial.wait_for_timeout(200)
        assert no_room(app) == [], title
        # Save is the last of the buttons, and stands beside the seed.
        save = app.get_by_role("button", name="Save").bounding_box()
        seed = app.locator("input[type=number]").bounding_box()
        assert save
        assert seed
        assert abs(save["y"] - seed["y"]) < 5, title
    trial.set_viewport_size({"width": 1200, "height": 1100})
    trial.wait_for_timeout(300)
    assert ask(trial, states) == narrow
    assert tab(trial, "Digits").locator("img").evaluate("i => i.width === i.naturalWidth")
    record_property("cases", len(TABS))


# ---------------------------------------------------------------- a kernel that is gone


def sentences(page: Page) -> list[str]:
    """Return what apps say of their kernel, those that say something."""
    said: list[str] = page.locator(".cvae-app").evaluate_all(
        """apps => apps.map(app => getComputedStyle(app, '::before').content)
            .filter(content => content !== 'none')"""
    )
    return said


def contrast(app: Locator) -> float:
    """Return how far the sentence stands out, as WCAG counts it; 4.5 is readable."""
    colours: list[str] = app.evaluate(
        """app => {
            let below = app, ground;
            do {
                ground = getComputedStyle(below).backgroundColor;
                below = below.parentElement;
            } while (below && /, 0\\)$/.test(ground));
            return [getComputedStyle(app, '::before').color, ground];
        }"""
    )
    bright = []
    for colour in colours:
        parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        bright.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(bright) + 0.05) / (min(bright) + 0.05)


def confirm_restart(page: Page) -> None:
    command(page, "kernelmenu:restart")
    page.get_by_role("button", name="Confirm Kernel Restart").click()


def kill(page: Page) -> None:
    os.kill(ask(page, "__import__('os').getpid()"), signal.SIGKILL)
    page.locator(".jp-Dialog").get_by_role("button", name="Ok").click(timeout=60_000)


def kernel(page: Page) -> str:
    address: str = page.evaluate(
        """() => 'api/kernels/'
            + window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"""
    )
    return address


def restart_elsewhere(page: Page) -> None:
    """Restart the kernel as another page would, until this page has heard of it.

    A new kernel says *starting* once. A page whose subscription is renewed a moment too late (on a
    busy machine, one time in ten) never hears it, and nothing else tells it of another kernel.
    """
    page.evaluate(
        """() => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            window.heard = false;
            kernel.anyMessage.connect((_, {msg}) => {
                if (msg.content.execution_state === 'starting') window.heard = true;
            });
        }"""
    )
    for _ in range(5):
        request(page, "POST", f"/{kernel(page)}/restart")
        with contextlib.suppress(TimeoutError):
            page.wait_for_function("window.heard", timeout=20_000)
            return


ENDS: dict[str, Callable[[Page], None]] = {
    "restarted from the menu": confirm_restart,
    "restarted by another page": restart_elsewhere,
    "killed": kill,
    "shut down from the menu": lambda page: page.evaluate(
        "() => window.jupyterapp.commands.execute('kernelmenu:shutdown').then(() => {})"
    ),
}


@pytest.mark.reliability(
    "widgets",
    "the kernel is restarted, killed or shut down below an open app, under a light and a dark look",
    "one readable sentence says to run the cell again, nothing can be moved; a new run works anew",
)
def test_an_app_without_its_kernel_says_so(
    trial: Page, record_property: Callable[[str, object], None]
) -> None:
    app, playground = trial.locator(".trial"), trial.locator(".playground")
    shots = ROOT / "build" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    for number, (name, end) in enumerate(ENDS.items()):
        look = ("Light", "Dark")[number % 2]
        command(trial, "apputils:change-theme", theme=f"JupyterLab {look}")
        trial.locator(f"body[data-jp-theme-light={str(look == 'Light').lower()}]").wait_for(
            state="attached"
        )
        assert sentences(trial) == []
        end(trial)
        until(trial, lambda: sentences(trial) == [f'"{LOST}"'] * 2, lambda: str(sentences(trial)))
        for kind, place in (("app", app), ("playground", playground)):
            assert contrast(place) > 4.5, f"{name}, {look}: the sentence is hard to read"
            place.scroll_into_view_if_needed()
            place.screenshot(path=shots / f"lost_{number}_{kind}.png")
            slider = place.locator(".noUi-target").first
            stands = slider.locator(".noUi-handle").get_attribute("aria-valuenow")
            knob = slider.bounding_box()
            assert knob
            trial.mouse.click(knob["x"] + 5, knob["y"] + knob["height"] / 2)
            assert slider.locator(".noUi-handle").get_attribute("aria-valuenow") == stands
        trial.evaluate(
            """async () => {
                const context = window.jupyterapp.shell.currentWidget.sessionContext;
                if (!context.session?.kernel) await context.changeKernel({name: 'python3'});
            }"""
        )
        # A kernel is there again, but knows no app: the sentence stays until the cell is run.
        assert ask(trial, "'app' in globals()") is False
        assert sentences(trial) == [f'"{LOST}"'] * 2, name
        assert run_all_cells(trial, timeout=120_000) == []
        until(trial, lambda: shown(app) != b"", lambda: "no picture after the new run")
        until(trial, lambda: sentences(trial) == [], lambda: str(sentences(trial)))
        agreed(trial, app)
        before = shown(app)
        app.locator(".noUi-handle").first.focus()
        trial.keyboard.press("ArrowRight")
        changed(trial, app, before)
    record_property("cases", 2 * len(ENDS))
