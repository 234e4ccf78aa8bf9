"""The slider apps as a person meets them: JupyterLab, a real browser, mouse and keyboard."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from cvae_utils import checkpoints, data
from cvae_utils.widgets import HoleState, fill, png
from tests.browser import CHROMIUM, jupyter_lab, open_notebook, run_all_cells

ROOT = Path(__file__).resolve().parent.parent
PLAYGROUND = ROOT / "notebooks" / "00_playground.ipynb"
DIGITS, HOLE, DRAWING = ".digit-explorer", ".hole-explorer", ".drawing-explorer"
TABS = ["Digits", "Style", "Morph", "Fill a hole", "Draw", "CVAE and GAN"]

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")

# Lesson -> what its app uses, made here in seconds; the app's cell itself comes from the notebook.
LESSONS = {
    "02_label_cvae": 'cvae, order = checkpoints.load_vae("label_cvae"), [0, 1, 2]',
    "03_conv_cvae": 'conv, order = checkpoints.load_vae("conv_cvae"), list(range(6))',
    "04_inpainting_cvae": """from cvae_utils import data, masks, objectives
general = checkpoints.load_inpainting("inpainting_mixed")
thousand = data.to_unit(data.load(download=False).test.images[:100])
doubtful, hole = thousand[:8], masks.centre(10)""",
    "05_cgan": 'cgan = checkpoints.load_gan("cgan")',
}


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
    cells = [nbformat.v4.new_code_cell("import torch\nfrom cvae_utils import checkpoints, widgets")]
    for lesson, needed in LESSONS.items():
        notebook = nbformat.read(PLAYGROUND.with_name(f"{lesson}.ipynb"), as_version=4)
        (app,) = [c.source for c in notebook.cells
                  if c.cell_type == "code" and "Explorer(" in c.source]  # fmt: skip
        cells.append(nbformat.v4.new_code_cell(f"{needed}\n{app}"))
    lessons = nbformat.v4.new_notebook(cells=cells, metadata=playground.metadata)
    nbformat.write(lessons, root / "lessons.ipynb")
    nbformat.write(lessons, root / "02_label_cvae.ipynb")  # what a link leads to
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


def tab(page: Page, title: str) -> Locator:
    """Open one tab of the playground; return its app."""
    page.locator(".playground").get_by_role("tab", name=title, exact=True).click()
    return page.locator(".playground .widget-tab-contents > :not(.lm-mod-hidden)").first


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
    """Wait up to ten seconds for something to come true."""
    for _ in range(100):
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
    app.get_by_text("with its settings inside").wait_for(timeout=10_000)


def test_a_note_leads_to_the_notebook_that_explains_it(page: Page) -> None:
    app = tab(page, "Digits")
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
