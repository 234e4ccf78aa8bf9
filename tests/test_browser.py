"""The slider apps as a person meets them: JupyterLab, a real browser, mouse and keyboard."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from cvae_utils import checkpoints, data
from cvae_utils.widgets import HoleState, fill, png
from tests.browser import jupyter_lab, open_notebook, run_all_cells

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
APP, HOLE_APP = ".digit-explorer", ".hole-explorer"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")

NOTEBOOK = """
from cvae_utils import checkpoints, widgets
cvae = checkpoints.load_vae("label_cvae")
widgets.digit_explorer(cvae, dimensions=range(6), digit=7)
"""
HOLE_NOTEBOOK = """
from cvae_utils import data
general = checkpoints.load_inpainting("inpainting_mixed")
images = data.to_unit(data.load().test.images[:10])
widgets.hole_explorer(general, images, dimensions=(0, 1))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A notebook with the apps of notebooks 02 and 04, run in the browser."""
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("home")
    cells = [nbformat.v4.new_code_cell(source) for source in (NOTEBOOK, HOLE_NOTEBOOK)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, root / "app.ipynb")
    with jupyter_lab(root, home) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        open_notebook(page, address, "app.ipynb")
        assert run_all_cells(page, timeout=120_000) == []
        for app in (APP, HOLE_APP):
            page.locator(f"{app} img").wait_for(timeout=30_000)
        yield page
        shots = ROOT / "build" / "screenshots"
        shots.mkdir(parents=True, exist_ok=True)
        for app in (APP, HOLE_APP):
            page.locator(app).screenshot(path=shots / f"{app[1:].replace('-', '_')}.png")
        browser.close()


def shown(page: Page, app: str = APP) -> bytes:
    """Return the pixels that the page shows, as a PNG; empty while none is decoded."""
    address = page.evaluate(
        """app => {
            const image = document.querySelector(app + ' img');
            if (!image?.complete || !image.naturalWidth) return '';
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext('2d').drawImage(image, 0, 0);
            return canvas.toDataURL();
        }""",
        app,
    )
    return base64.b64decode(address.partition(",")[2])


def digits_read(picture: bytes) -> list[int]:
    """Let the classifier read the twenty digits of a picture."""
    grey = np.asarray(Image.open(io.BytesIO(picture)).convert("L"), dtype=np.float32) / 255
    side = 2 * 32  # 28 pixels and a gap of 4, twice enlarged
    rows, columns = (grey.shape[0] + 8) // side, (grey.shape[1] + 8) // side
    tiles = [
        grey[side * row : side * row + 56, side * column : side * column + 56]
        for row in range(rows)
        for column in range(columns)
    ]
    ink = 1 - torch.from_numpy(np.stack(tiles))
    images = torch.nn.functional.avg_pool2d(ink.unsqueeze(1), 2).squeeze(1)
    return checkpoints.load_classifier().read(images.clamp(0, 1)).tolist()


def settled(page: Page, digit: int) -> bytes:
    """Wait until the picture shows the digit asked for, and return it."""
    for _ in range(100):
        picture = shown(page)
        # 17 of 20: about one sample in fifty is not read as its label.
        if picture and digits_read(picture).count(digit) >= 17:
            return picture
        page.wait_for_timeout(100)
    raise AssertionError(f"the picture does not show {digit}: {digits_read(shown(page))}")


def changed(page: Page, before: bytes) -> bytes:
    """Wait for another picture, and return it."""
    for _ in range(100):
        picture = shown(page)
        if picture and picture != before:
            return picture
        page.wait_for_timeout(100)
    raise AssertionError("the picture did not change")


def handle(page: Page, index: int, app: str = APP) -> None:
    page.locator(f"{app} .noUi-handle").nth(index).focus()


def test_the_app_opens_on_the_digit_asked_for(page: Page) -> None:
    assert len(digits_read(settled(page, 7))) == 20


@pytest.mark.parametrize(("app", "sliders"), [(APP, 1 + 6), (HOLE_APP, 4 + 2)])
def test_every_slider_has_room_for_its_track(page: Page, app: str, sliders: int) -> None:
    frame = page.locator(app).bounding_box()
    tracks = [track.bounding_box() for track in page.locator(f"{app} .noUi-target").all()]
    assert frame
    assert len(tracks) == sliders
    for track in tracks:
        assert track
        assert track["width"] > 80
        assert track["x"] + track["width"] <= frame["x"] + frame["width"]


def test_the_digit_slider_follows_the_keyboard(page: Page) -> None:
    settled(page, 7)
    handle(page, 0)
    page.keyboard.press("ArrowLeft")
    settled(page, 6)
    page.keyboard.press("ArrowRight")
    settled(page, 7)


def test_resample_gives_other_sevens_and_the_seed_brings_them_back(page: Page) -> None:
    before = settled(page, 7)
    page.locator(APP).get_by_role("button", name="Resample").click()
    after = changed(page, before)
    assert digits_read(after).count(7) >= 17
    seed = page.locator(f"{APP} input[type=number]")
    seed.fill("0")
    seed.press("Enter")
    assert changed(page, after) == before


def test_a_latent_slider_moves_all_digits_and_comes_back(page: Page) -> None:
    before = settled(page, 7)
    handle(page, 1)
    page.keyboard.press("ArrowRight")
    after = changed(page, before)
    page.keyboard.press("ArrowLeft")
    assert changed(page, after) == before


def test_after_a_storm_of_moves_the_last_position_wins(page: Page) -> None:
    settled(page, 7)
    track = page.locator(f"{APP} .noUi-target").first.bounding_box()
    knob = page.locator(f"{APP} .noUi-handle").first.bounding_box()
    assert track
    assert knob
    height = knob["y"] + knob["height"] / 2
    page.mouse.move(knob["x"] + knob["width"] / 2, height)
    page.mouse.down()
    for place in [0.1, 0.9, 0.2, 0.8, 0.0, 1.0] * 5 + [1 / 3]:  # 3 of 0 to 9
        page.mouse.move(track["x"] + track["width"] * place, height)
    page.mouse.up()
    last = settled(page, 3)
    page.wait_for_timeout(500)
    assert shown(page) == last


# ---------------------------------------------------------------- the hole


def grey(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("L"), dtype=np.int64)


def settled_hole(page: Page, state: HoleState) -> None:
    """Wait until the page shows the very picture that belongs to a state."""
    model = checkpoints.load_inpainting("inpainting_mixed")
    images = data.to_unit(data.load().test.images[:10])
    wanted = grey(png(fill(model, images, state), columns=12))
    difference = 255
    for _ in range(100):
        picture = shown(page, HOLE_APP)
        if picture and grey(picture).shape == wanted.shape:
            difference = np.abs(grey(picture) - wanted).max()
            if difference <= 1:  # sums in another order may round otherwise
                return
        page.wait_for_timeout(100)
    raise AssertionError(f"the page does not show {state}: off by up to {difference} of 255")


def test_the_sliders_of_the_hole_follow_the_keyboard(page: Page) -> None:
    settled_hole(page, HoleState())
    page.locator(HOLE_APP).scroll_into_view_if_needed()
    for index, state in enumerate([
        HoleState(image=1),
        HoleState(image=1, top=10),
        HoleState(image=1, top=10, left=10),
        HoleState(image=1, top=10, left=10, size=11),
        HoleState(image=1, top=10, left=10, size=11, shifts={0: 0.1}),
    ]):  # fmt: skip
        handle(page, index, HOLE_APP)
        page.keyboard.press("ArrowRight")
        settled_hole(page, state)


def test_resample_fills_the_hole_anew(page: Page) -> None:
    before = shown(page, HOLE_APP)
    page.locator(HOLE_APP).get_by_role("button", name="Resample").click()
    settled_hole(page, HoleState(image=1, top=10, left=10, size=11, seed=1, shifts={0: 0.1}))
    assert shown(page, HOLE_APP) != before
