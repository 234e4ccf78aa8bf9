"""The page without Python: its models beside PyTorch's, and the page itself in a real browser."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import math
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, sync_playwright
from torch import Tensor

from cvae_utils import checkpoints, data, export, masks
from cvae_utils.evaluation import kl_per_dimension, seems_to_change
from cvae_utils.models import ConditionalVAE, InpaintingCVAE, LabelCVAE
from cvae_utils.widgets.pictures import (
    DrawingState,
    Stroke,
    complete,
    page,
    shifted_noise,
    spread,
)
from tests.browser import CHROMIUM
from tests.served import served

ROOT = Path(__file__).resolve().parent.parent
MEGABYTES = 15
CLOSE = 1e-4  # to PyTorch, in ink probabilities
SHADE = 0.5 / 255 + CLOSE  # a canvas has 256 shades

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def cvae() -> ConditionalVAE:
    return checkpoints.load_vae("conv_cvae")


@pytest.fixture(scope="module")
def inpainting() -> InpaintingCVAE:
    return checkpoints.load_inpainting("inpainting_mixed")


@pytest.fixture(scope="module")
def handwritten() -> data.Split:
    return data.load(download=False).test


NOTEBOOKS = "../notebooks/index.html"
THEIRS = ("CNAME", "models/old.onnx")  # empty files that are no part of the page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, handwritten: data.Split) -> Path:
    """The whole page, as `make page` writes it, into a folder where other things are."""
    folder = tmp_path_factory.mktemp("page")
    for path in THEIRS:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).touch()
    assert export.write_page(folder, handwritten, home=NOTEBOOKS) == weight(folder)
    return folder


def test_what_has_other_names_in_the_folder_stays(site: Path) -> None:
    assert all((site / path).is_file() for path in THEIRS)


def weight(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_an_export_leaves_the_model_in_training_mode() -> None:
    model = LabelCVAE(latent_dim=2, width=4).train()
    assert export.digits_onnx(model)
    assert model.training
    assert model.generation_net.training


def session(site: Path, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(site / "models" / f"{name}.onnx", options)


def largest_difference(ours: Any, theirs: Tensor) -> float:
    assert tuple(ours.shape) == tuple(theirs.shape)
    return float((torch.as_tensor(ours) - theirs).abs().max())


@pytest.mark.parametrize("count", [1, 2, 20, 37])
def test_exported_digits_are_those_of_pytorch(site: Path, cvae: ConditionalVAE, count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    z = 2 * torch.randn(count, cvae.latent_dim, generator=generator)
    labels = torch.randint(10, (count,), generator=generator)
    (drawn,) = session(site, "digits").run(None, {"z": z.numpy(), "labels": labels.numpy()})
    with torch.no_grad():
        assert largest_difference(drawn, cvae.generate(z, labels)) < CLOSE


@pytest.mark.parametrize("count", [1, 10])
def test_exported_completions_are_those_of_the_apps(
    site: Path, inpainting: InpaintingCVAE, handwritten: data.Split, count: int
) -> None:
    filler = session(site, "holes")
    images = data.to_unit(handwritten.take(12).images)
    holes = masks.mixed(12, torch.Generator().manual_seed(0))
    holes[0], holes[1] = True, False  # nothing is hidden, everything is
    for seed, (image, mask) in enumerate(zip(images, holes, strict=True)):
        eps = shifted_noise(inpainting.latent_dim, count, seed, {})
        given = masks.hide(image[None], mask)
        (filled,) = filler.run(None, {"eps": eps.numpy(), "given": given.numpy()})
        wanted = complete(inpainting, image, mask, seed, {}, count)
        assert largest_difference(filled, wanted) < CLOSE
        assert (torch.as_tensor(filled)[:, mask] == image[mask]).all()


def test_the_page_is_small_and_names_no_folder_of_its_maker(site: Path) -> None:
    assert weight(site) < MEGABYTES * 1e6
    for path in site.rglob("*.*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(ROOT).encode() not in content, path
            assert b"site-packages" not in content, path


def test_what_the_page_says_of_its_models_was_measured(
    site: Path, cvae: ConditionalVAE, handwritten: data.Split
) -> None:
    about = json.loads((site / "models" / "about.json").read_text())
    nats = kl_per_dimension(cvae, handwritten.take(export.IMAGES))
    used = nats.argsort(descending=True)[: export.SLIDERS].tolist()
    names = seems_to_change(cvae, used)
    shown = {slider["dimension"]: slider["name"] for slider in about["digits"]["sliders"]}
    assert list(shown) == used
    assert shown == names
    for part, checkpoint in ("digits", "conv_cvae"), ("holes", "inpainting_mixed"):
        _, provenance = checkpoints.load(checkpoint)
        assert about[part]["checkpoint"] == checkpoint
        assert about[part]["provenance"]["command"] == provenance.command


def test_the_runtime_is_the_one_that_its_readme_names() -> None:
    vendor = ROOT / "page" / "vendor" / "onnxruntime-web"
    readme = (vendor / "README.md").read_text()
    runtime = gzip.decompress((vendor / "ort-wasm-simd-threaded.wasm.gz").read_bytes())
    assert hashlib.sha256(runtime).hexdigest() in readme
    (version,) = re.findall(r"^# onnxruntime-web ([\d.]+)$", readme, re.MULTILINE)
    assert f"ONNX Runtime Web v{version}" in (vendor / "ort.wasm.bundle.min.mjs").read_text()
    assert (vendor / "LICENSE").read_text().startswith("MIT License")


def test_the_command_wants_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page"
    file.write_text("mine")
    assert export.main(["--out", str(file)]) == 1
    assert f"error: out must be a folder, got the file {file}" in capsys.readouterr().err
    assert file.read_text() == "mine"


@pytest.mark.parametrize("below", [".", "vendor/copy"])
def test_the_page_is_not_written_into_its_own_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    below: str,
) -> None:
    own = shutil.copytree(export.source(), tmp_path / "page")
    before = sorted(own.rglob("*"))
    monkeypatch.setattr(export, "source", lambda: own)
    (tmp_path / "link").symlink_to(own)
    for out in own / below, tmp_path / "link" / below:
        assert export.main(["--out", str(out)]) == 1
        said = capsys.readouterr().err
        assert said == f"error: out must not be where the page's own files are, {own}, got {out}\n"
    assert sorted(own.rglob("*")) == before


def test_a_file_that_cannot_be_written_is_said_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.js").mkdir()
    (tmp_path / "style.css").symlink_to(export.source() / "style.css")
    style = (export.source() / "style.css").read_bytes()
    assert export.main(["--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert re.match(r"error: \[Errno \d+\] Is a directory: ", said)
    assert f"'{tmp_path / 'app.js'}'" in said
    assert (export.source() / "style.css").read_bytes() == style


def test_the_commands_help_is_for_its_reader(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "::" not in said
    assert "--out FOLDER where it goes; what has other names there stays" in said
    assert "(default: build/page)" in said
    assert "--home URL where the notebooks are to be read, for a link to them" in said
    assert "(default: no link)" in said


def test_the_command_says_how_to_open_the_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    written: list[tuple[Path, str | None]] = []

    def write_page(out: Path, digits: data.Split, home: str | None) -> int:
        written.append((out, home))
        return 9_800_000

    monkeypatch.setattr(export, "write_page", write_page)
    assert export.main(["--out", str(tmp_path)]) == 0
    assert export.main(["--out", str(tmp_path), "--home", NOTEBOOKS]) == 0
    assert written == [(tmp_path, None), (tmp_path, NOTEBOOKS)]
    said = capsys.readouterr().out
    assert f"http.server --bind 127.0.0.1 --directory {tmp_path}" in said
    assert "9.8 MB" in said
    assert export.main(["--out", str(tmp_path / "my page")]) == 0
    (line,) = re.findall(r"python3 -m http.server .*", capsys.readouterr().out)
    assert shlex.split(line)[-2:] == [str(tmp_path / "my page"), "8000"]


# In the browser


@pytest.fixture(scope="module")
def browser(site: Path) -> Iterator[tuple[str, Browser]]:
    with served(site) as address, sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield address, chromium
        chromium.close()


@contextlib.contextmanager
def opened(browser: tuple[str, Browser], **settings: Any) -> Iterator[Page]:
    """Open the page; it must ask its own server alone, and complain about nothing."""
    address, chromium = browser
    context = chromium.new_context(**{"viewport": {"width": 1200, "height": 900}} | settings)
    view = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    view.on("console", lambda line: complaints.append(line.text))
    view.on("pageerror", lambda error: complaints.append(str(error)))
    view.goto(address)
    ready(view)
    try:
        yield view
    finally:
        context.close()
    assert len(asked) > 8
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert complaints == []


def ready(view: Page) -> None:
    view.locator("#digits:not([inert])[aria-busy=false]").wait_for(timeout=20_000)
    view.locator("#holes:not([inert])[aria-busy=false]").wait_for(timeout=20_000)


@pytest.fixture
def view(browser: tuple[str, Browser]) -> Iterator[Page]:
    with opened(browser) as view:
        yield view


@contextlib.contextmanager
def drawn(view: Page, panel: str) -> Iterator[None]:
    """Wait until the panel has drawn what was done to it inside the block."""
    view.evaluate(
        """panel => {
            window.drawn = false;
            document.getElementById(panel)
                .addEventListener('drawn', () => { window.drawn = true }, {once: true});
        }""",
        panel,
    )
    yield
    view.wait_for_function("() => window.drawn", timeout=10_000)
    view.locator(f"#{panel}[aria-busy=false]").wait_for()


def shown(view: Page, panel: str) -> dict[str, Any]:
    """Return what went into a panel's model, and what came out, as tensors where it is numbers."""
    values = view.evaluate(
        """async panel => {
            const {shown} = await import('./app.js');
            const plain = value => ArrayBuffer.isView(value) ? Array.from(value)
                : Array.isArray(value) ? value.map(plain) : value;
            return Object.fromEntries(
                Object.entries(shown[panel]).map(([name, value]) => [name, plain(value)]));
        }""",
        panel,
    )
    shapes = {"z": (20, -1), "eps": (10, -1), "images": (-1, 28, 28)}
    shapes |= {"image": (28, 28), "mask": (28, 28)}
    return {
        name: torch.tensor(value).view(shapes[name]) if name in shapes else value
        for name, value in values.items()
    }


def ink(view: Page, selector: str) -> Tensor:
    """Read the canvases' own pixels, (N, 28, 28): how opaque they are."""
    pixels = view.locator(selector).evaluate_all(
        """canvases => canvases.map(canvas => Array.from(canvas.getContext('2d')
            .getImageData(0, 0, 28, 28).data.filter((_, byte) => byte % 4 === 3)))"""
    )
    return torch.tensor(pixels).view(-1, 28, 28) / 255


def digits_are_pytorchs(view: Page, cvae: ConditionalVAE, label: int) -> dict[str, Any]:
    """Hold the twenty canvases against PyTorch's decoding of the same codes."""
    state = shown(view, "digits")
    with torch.no_grad():
        wanted = cvae.generate(state["z"], torch.full((20,), label))
    assert largest_difference(state["images"], wanted) < CLOSE
    assert largest_difference(ink(view, "#digits canvas"), wanted) <= SHADE
    return state


def completions_are_pytorchs(
    view: Page, inpainting: InpaintingCVAE, image: Tensor, mask: Tensor
) -> dict[str, Any]:
    """Hold page, completions, mean and doubt against PyTorch's, for this image and mask."""
    state = shown(view, "holes")
    assert (state["mask"] == mask).all()
    assert largest_difference(state["image"], image) < CLOSE
    given = masks.hide(image[None], mask)
    with torch.no_grad():
        z = inpainting.prior_net(given).at(state["eps"])
        wanted = inpainting.generate(z, given.expand(10, -1, -1, -1))
    assert largest_difference(state["images"], wanted) < CLOSE
    canvases = ink(view, "#holes figure canvas")
    both = torch.stack([wanted.mean(0), spread(wanted)])
    assert largest_difference(canvases, torch.cat([wanted, both])) <= 2 * SHADE
    on_paper = ink(view, ".page canvas")[0]
    assert largest_difference(on_paper * mask, image * mask) <= SHADE
    assert (on_paper[~mask] == 1).all()  # the orange
    return state


def put(slider: Locator, value: int) -> None:
    """Lead a slider to a value with the keyboard: from its left end, step by step."""
    slider.focus()
    slider.press("Home")
    for _ in range(value):
        slider.press("ArrowRight")


def documented_noise(seed: int, count: int) -> Tensor:
    """Return what `page/random.js` says that it draws."""
    counter, numbers = seed, []

    def uniform() -> float:
        nonlocal counter
        counter = (counter + 0x6D2B79F5) % 2**32
        bits = (counter ^ counter >> 15) * (counter | 1) % 2**32
        bits ^= (bits + (bits ^ bits >> 7) * (bits | 61)) % 2**32
        return (bits ^ bits >> 14) / 2**32

    for _ in range(math.ceil(count / 2)):
        radius = math.sqrt(-2 * math.log(1 - uniform()))
        angle = 2 * math.pi * uniform()
        numbers += [radius * math.cos(angle), radius * math.sin(angle)]
    return torch.tensor(numbers[:count])


@needs_chromium
def test_the_seed_decides_the_codes(view: Page) -> None:
    z = shown(view, "digits")["z"]
    assert torch.allclose(z.flatten(), documented_noise(0, z.numel()), atol=1e-6)
    eps = shown(view, "holes")["eps"]
    assert torch.allclose(eps.flatten(), documented_noise(0, eps.numel()), atol=1e-6)
    many = torch.tensor(
        view.evaluate("async () => Array.from((await import('./random.js')).normal(3, 1e5))")
    )
    assert torch.allclose(many, documented_noise(3, 100_000), atol=1e-6)
    assert many.mean().abs() < 0.02
    assert (many.std() - 1).abs() < 0.02
    assert (many.abs() > 3).float().mean() == pytest.approx(0.0027, abs=0.0008)


@needs_chromium
def test_a_digit_is_picked_by_mouse_and_by_keyboard(view: Page, cvae: ConditionalVAE) -> None:
    sevens = digits_are_pytorchs(view, cvae, 7)
    with drawn(view, "digits"):
        view.locator("#digits label", has_text=re.compile(r"^3$")).click()
    threes = digits_are_pytorchs(view, cvae, 3)
    with drawn(view, "digits"):
        view.keyboard.press("ArrowRight")
    fours = digits_are_pytorchs(view, cvae, 4)
    assert view.get_by_role("radio", name="4").is_checked()
    assert (sevens["z"] == threes["z"]).all()
    assert (sevens["z"] == fours["z"]).all()
    assert (threes["images"] - fours["images"]).abs().amax((1, 2)).min() > 0.5


@needs_chromium
def test_every_slider_moves_its_own_dimension(view: Page, site: Path, cvae: ConditionalVAE) -> None:
    before = shown(view, "digits")["z"]
    moved = before.clone()
    about = json.loads((site / "models" / "about.json").read_text())
    for number, entry in enumerate(about["digits"]["sliders"], start=1):
        place = rf"z\[{entry['dimension']}\]"
        slider = view.get_by_role("slider", name=re.compile(rf"^{entry['name']}.*, {place}"))
        slider.focus()
        for _ in range(number):
            with drawn(view, "digits"):
                view.keyboard.press("ArrowLeft" if number % 2 else "ArrowRight")
        moved[:, entry["dimension"]] += 0.1 * number * (-1 if number % 2 else 1)
        state = digits_are_pytorchs(view, cvae, 7)
        assert torch.allclose(state["z"], moved, atol=1e-5)
    with drawn(view, "digits"):
        view.locator("#digits").get_by_role("button", name="Reset").click()
    assert (shown(view, "digits")["z"] == before).all()


@needs_chromium
def test_resample_and_seed(view: Page, cvae: ConditionalVAE) -> None:
    seed = view.locator("#digits").get_by_label("Seed")
    with drawn(view, "digits"):
        view.locator("#digits").get_by_role("button", name="Resample").press("Enter")
    assert seed.input_value() == "1"
    first = digits_are_pytorchs(view, cvae, 7)["z"]
    assert torch.allclose(first.flatten(), documented_noise(1, first.numel()), atol=1e-6)
    seed.fill("-3")
    cause = "The seed must be a whole number from 0 to 4294967295."
    alarm = alarm_of(view, f"{cause} “Pick a digit” stays as it is.")
    assert seed.get_attribute("aria-invalid") == "true"
    assert seed.get_attribute("aria-errormessage") == alarm.get_attribute("id")
    with drawn(view, "holes"):
        view.locator("#holes").get_by_role("button", name="Resample").click()
    assert alarm.is_visible()  # a good picture there does not make this one good
    with drawn(view, "digits"):
        seed.fill("4294967295")
    assert not alarm.is_visible()
    assert seed.get_attribute("aria-invalid") == "false"
    last = digits_are_pytorchs(view, cvae, 7)["z"]
    assert torch.allclose(last.flatten(), documented_noise(2**32 - 1, last.numel()), atol=1e-6)
    with drawn(view, "digits"):
        view.locator("#digits").get_by_role("button", name="Resample").click()
    assert seed.input_value() == "0"


def alarm_of(view: Page, text: str) -> Locator:
    """Wait for an error; return the line that says it."""
    alarm = view.get_by_role("alert").filter(has_text=text)
    alarm.wait_for()
    return alarm


@needs_chromium
@pytest.mark.parametrize(
    ("bad", "after"), [("1.5", "2"), ("-7", "0"), ("-1e30", "0"), ("1e30", "0"), ("", "1")]
)
def test_resample_leads_out_of_a_bad_seed(view: Page, bad: str, after: str) -> None:
    seed = view.locator("#holes").get_by_label("Seed")
    seed.fill(bad)
    alarm = alarm_of(view, "seed must be")
    with drawn(view, "holes"):
        view.locator("#holes").get_by_role("button", name="Resample").click()
    assert seed.input_value() == after
    assert not alarm.is_visible()


@needs_chromium
@pytest.mark.parametrize("first", ["digits", "holes"])
def test_an_error_stays_in_sight_until_its_own_panel_is_mended(view: Page, first: str) -> None:
    titles = {"digits": "“Pick a digit”", "holes": "“Fill a hole”"}
    second = "holes" if first == "digits" else "digits"
    for panel in first, second:
        view.locator(f"#{panel}").get_by_label("Seed").fill("")
        alarm_of(view, titles[panel])
    with drawn(view, second):
        view.locator(f"#{second}").get_by_label("Seed").fill("4")
    alarm_of(view, titles[first])
    with drawn(view, first):
        view.locator(f"#{first}").get_by_label("Seed").fill("4")
    assert not view.get_by_role("alert").is_visible()


@needs_chromium
def test_a_picture_that_fails_does_not_keep_the_next_from_being_drawn(
    browser: tuple[str, Browser], cvae: ConditionalVAE
) -> None:
    """The second picture fails, and the third is asked for while it still computes."""
    address, chromium = browser
    view = chromium.new_page()

    def failing(route: Route) -> None:
        source = route.fetch().text()
        beginning = "async draw(z, label) {"
        assert source.count(beginning) == 1
        fails = """
            window.asked = (window.asked ?? 0) + 1;
            if (window.asked === 2) await new Promise((_, fail) => { window.fail = fail; });"""
        route.fulfill(
            body=source.replace(beginning, beginning + fails), content_type="text/javascript"
        )

    view.route(f"{address}models.js", failing)
    view.goto(address)
    ready(view)
    for digit in 3, 5:
        view.locator("#digits label", has_text=re.compile(rf"^{digit}$")).click()
    view.evaluate("() => window.fail(new Error('no memory'))")
    view.locator("#digits[aria-busy=false]").wait_for()
    assert not view.get_by_role("alert").is_visible()
    digits_are_pytorchs(view, cvae, 5)
    view.close()


@needs_chromium
def test_the_hole_follows_its_sliders(view: Page, inpainting: InpaintingCVAE) -> None:
    image = shown(view, "digits")["images"][0]
    state = completions_are_pytorchs(view, inpainting, image, masks.hole(9, 9, 10, 10))
    panel = view.locator("#holes")
    for top, left, size in (4, 13, 9), (20, 2, 12), (0, 0, 28), (5, 5, 0):
        panel.get_by_label("top row").fill(str(top))
        panel.get_by_label("left column").fill(str(left))
        with drawn(view, "holes"):
            put(panel.get_by_label("size"), size)
        panel.locator("xpath=self::*[@aria-busy='false']").wait_for()
        hole = masks.hole(top, left, size, size)
        after = completions_are_pytorchs(view, inpainting, image, hole)
        assert (after["eps"] == state["eps"]).all()
    with drawn(view, "holes"):
        panel.get_by_role("button", name="Resample").click()
    assert (shown(view, "holes")["eps"] != state["eps"]).any()


@needs_chromium
def test_a_digit_that_is_pressed_goes_under_the_hole(
    view: Page, inpainting: InpaintingCVAE
) -> None:
    with drawn(view, "digits"):
        view.locator("#digits label", has_text=re.compile(r"^2$")).click()
    sixth = view.get_by_role("button", name="Digit 2, hand 6")
    with drawn(view, "holes"):
        sixth.press("Enter")
    assert sixth.get_attribute("aria-pressed") == "true"
    image = shown(view, "digits")["images"][5]
    completions_are_pytorchs(view, inpainting, image, masks.hole(9, 9, 10, 10))


def strokes_of(state: dict[str, Any]) -> tuple[Stroke, ...]:
    return tuple(
        Stroke(tool, tuple((row, column) for row, column in points))
        for tool, points in state["strokes"]
    )


@needs_chromium
def test_mouse_and_keys_draw_on_the_page(view: Page, inpainting: InpaintingCVAE) -> None:
    panel, paper = view.locator("#holes"), view.locator(".page canvas")
    image = shown(view, "digits")["images"][0]
    with drawn(view, "holes"):
        put(panel.get_by_label("size"), 0)
    paths = {
        "hide": [(6.2, 6.4), (20.3, 21.2)],
        "ink": [(8.1, 20.3), (8.4, 8.6), (17.2, 12.3)],
        "paper": [(22.2, 18.3)],
    }
    for tool, path in paths.items():
        panel.locator("label", has_text=tool).first.click()
        paper.scroll_into_view_if_needed()
        box = paper.bounding_box()
        assert box
        places = [
            (box["x"] + (x + 0.5) / 28 * box["width"], box["y"] + (y + 0.5) / 28 * box["height"])
            for y, x in path
        ]
        with drawn(view, "holes"):
            view.mouse.move(*places[0])
            view.mouse.down()
            for place in places[1:]:
                view.mouse.move(*place, steps=5)
            view.mouse.up()
            view.mouse.move(0, 0)  # after the button is up, nothing is drawn
    state = shown(view, "holes")
    strokes = strokes_of(state)
    assert [tool for tool, _ in strokes] == list(paths)
    for (_, points), path in zip(strokes, paths.values(), strict=True):
        assert points[0] == pytest.approx(path[0], abs=0.1)
        assert points[-1] == pytest.approx(path[-1], abs=0.1)
    drawing, visible = page(image[None], DrawingState(0, strokes))
    assert 20 < (~visible).sum() < 200
    completions_are_pytorchs(view, inpainting, drawing, visible)

    with drawn(view, "holes"):
        panel.get_by_role("button", name="Hide everything").click()
    assert shown(view, "holes")["mask"].sum() == 0
    panel.locator("label", has_text="ink").first.click()
    paper.focus()
    view.keyboard.press("ArrowUp")
    with drawn(view, "holes"):
        view.keyboard.press("Shift+ArrowRight")
    with drawn(view, "holes"):
        view.keyboard.press("Space")
    written = shown(view, "holes")
    keyed = strokes_of(written)
    assert keyed == (Stroke("ink", ((13, 14), (13, 15))), Stroke("ink", ((13, 15),)))
    drawing, visible = page(image[None], DrawingState(None, keyed))
    completions_are_pytorchs(view, inpainting, drawing, visible)
    with drawn(view, "holes"):
        panel.get_by_role("button", name="Start over").click()
    completions_are_pytorchs(view, inpainting, image, masks.hole(9, 9, 10, 10))


@needs_chromium
def test_strokes_are_taken_back_one_by_one(view: Page) -> None:
    paper = view.locator(".page canvas")
    undo = view.get_by_role("button", name="Undo stroke")
    assert undo.get_attribute("aria-disabled") == "true"
    paper.focus()
    for key in "Space", "Shift+ArrowRight", "Space":
        with drawn(view, "holes"):
            view.keyboard.press(key)
    assert undo.get_attribute("aria-disabled") == "false"
    dot, line, _ = shown(view, "holes")["strokes"]
    with drawn(view, "holes"):
        view.keyboard.press("Control+z")
    assert shown(view, "holes")["strokes"] == [dot, line]
    edges = paper.bounding_box()
    assert edges
    view.mouse.move(edges["x"] + 5, edges["y"] + 5)
    with drawn(view, "holes"):
        view.mouse.down()
    view.keyboard.press("Control+z")  # a stroke that is being drawn is not taken away
    with drawn(view, "holes"):
        view.mouse.move(edges["x"] + 50, edges["y"] + 5)
    view.mouse.up()
    assert len(shown(view, "holes")["strokes"]) == 3
    with drawn(view, "holes"):
        view.keyboard.press("Control+z")
    for left in [dot], []:
        with drawn(view, "holes"):
            undo.press("Enter")
        assert shown(view, "holes")["strokes"] == left
    assert undo.get_attribute("aria-disabled") == "true"
    assert undo.evaluate("undo => undo === document.activeElement")
    undo.press("Enter")  # and once more does no harm
    assert shown(view, "holes")["strokes"] == []


@needs_chromium
def test_keys_of_the_browser_stay_the_browsers(view: Page) -> None:
    paper = view.locator(".page canvas")
    paper.focus()
    view.evaluate(
        """() => {
            window.kept = [];
            document.addEventListener('keydown', event => {
                window.kept.push(event.defaultPrevented);
                event.preventDefault(); // alt and left would leave the page
            });
        }"""
    )
    for key in "Alt+ArrowLeft", "Control+ArrowRight", "Meta+ArrowUp", "Alt+Space", "ArrowLeft":
        view.keyboard.press(key)
    # Twice for each of four: the modifier by itself, and with the key.
    assert view.evaluate("window.kept") == [False] * 4 * 2 + [True]
    with drawn(view, "holes"):
        view.keyboard.press("Space")
    assert strokes_of(shown(view, "holes")) == (Stroke("ink", ((14, 13),)),)


@needs_chromium
def test_a_screen_reader_hears_each_thing_once(view: Page) -> None:
    """A slider reads its value out by itself; an error interrupts, what is loading does not."""
    view.locator("#digits").get_by_label("Seed").fill("")
    alarm_of(view, "seed must be")
    tree = view.context.new_cdp_session(view).send("Accessibility.getFullAXTree")
    live = [
        (node["role"]["value"], one["value"]["value"])
        for node in tree["nodes"]
        for one in node.get("properties", [])
        if one["name"] == "live"
    ]
    assert sorted(live) == [("alert", "assertive"), ("status", "polite")]
    labels = view.locator("label:has(+ output)").all_inner_texts()
    assert len({*labels}) == len(labels) > 6
    words = [re.sub(r", z\[\d+\]$", "", label) for label in labels]
    assert {"taller (1)", "taller (2)", "shape"} < {*words}
    assert len({*words}) == len(words)


@needs_chromium
def test_everything_is_reached_by_tab_and_has_a_name(view: Page) -> None:
    names: list[str] = view.evaluate(
        """() => [...document.querySelectorAll('input, button, canvas[tabindex]')]
            .map(it => it.ariaLabel || it.textContent.trim()
                || it.labels?.[0]?.textContent.trim() || '')"""
    )
    assert len(names) > 40
    assert all(names)
    reached = []
    for _ in range(60):
        view.keyboard.press("Tab")
        reached.append(
            view.evaluate(
                """() => {
                    const it = document.activeElement, frame = it.nextElementSibling || it;
                    const seen = [it, frame].some(e => getComputedStyle(e).outlineStyle !== 'none');
                    return [it.name || it.ariaLabel || it.textContent, seen];
                }"""
            )
        )
        if reached[-1][0] == "Start over":
            break
    stops = [stop for stop, _ in reached]
    assert {"digit", "Resample", "seed", "Page to draw on", "tool", "top", "left", "size"} <= {
        *stops
    }
    assert {"Digit 7, hand 1", "Digit 7, hand 20", "hide-all"} <= {*stops}
    assert all(seen for _, seen in reached)


@needs_chromium
def test_a_phone_shows_all_of_it_and_is_drawn_on(browser: tuple[str, Browser]) -> None:
    phone = {"width": 390, "height": 844}
    with opened(browser, viewport=phone, has_touch=True, is_mobile=True) as view:
        for width in 320, 360, 390:
            view.set_viewport_size(phone | {"width": width})
            assert view.evaluate("document.documentElement.scrollWidth") <= width
            captions = view.locator("figcaption")
            wide = captions.evaluate_all("all => all.map(it => it.scrollWidth > it.clientWidth)")
            assert not any(wide)
            places = view.locator("button, input[type=range], .choices span").evaluate_all(
                "all => all.map(one => one.getBoundingClientRect().toJSON())"
            )
            assert len(places) > 40
            assert all(place["left"] >= 0 and place["right"] <= width for place in places)
            # For a finger (WCAG 2.5.8).
            assert all(min(place["width"], place["height"]) >= 24 for place in places)
        with drawn(view, "holes"):
            view.locator(".page canvas").tap()
        assert len(shown(view, "holes")["strokes"]) == 1
        assert view.locator("#keys").is_hidden()
        _screenshot(view, "page_phone")


@needs_chromium
def test_a_desktop_at_400_percent_says_which_keys_draw(view: Page) -> None:
    view.set_viewport_size({"width": 320, "height": 256})
    assert view.locator("#keys").is_visible()
    assert view.evaluate("document.documentElement.scrollWidth") <= 320


@needs_chromium
def test_an_error_covers_neither_the_focus_nor_the_end_of_the_page(view: Page) -> None:
    view.set_viewport_size({"width": 320, "height": 256})
    seed = view.locator("#holes").get_by_label("Seed")
    seed.fill("1.5")
    alarm = alarm_of(view, "seed must be")
    view.evaluate("scrollTo(0, 0)")
    seed.evaluate("seed => { seed.blur(); seed.focus(); }")
    above = "one => one.getBoundingClientRect().bottom"
    below = "one => one.getBoundingClientRect().top"
    assert 0 < seed.evaluate(above) <= alarm.evaluate(below)
    view.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert 0 < view.locator("#about").evaluate(above) <= alarm.evaluate(below)
    assert alarm.evaluate(above) <= 256


def contrast(one: Any, other: Any) -> float:
    """Return how much lighter one colour is than another, as WCAG counts it: 1 to 21."""

    def luminance(colour: Any) -> float:
        parts = np.asarray(colour) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@needs_chromium
def test_light_and_dark_are_the_readers_choice(view: Page) -> None:
    grounds, pixels = {}, []
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        view.emulate_media(color_scheme=scheme)
        ground = view.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        grounds[scheme] = np.mean([int(part) for part in re.findall(r"\d+", ground)])
        pixels.append(ink(view, "#digits canvas"))
        # The hole is orange, and stands out against the paper (WCAG 1.4.11).
        with Image.open(io.BytesIO(view.locator(".page canvas").screenshot())) as shot:
            paper, hidden = (shot.convert("RGB").getpixel((at, at)) for at in (5, shot.width // 2))
        assert contrast(paper, hidden) >= 3
        assert hidden == pytest.approx((205, 115, 25), abs=15)
        edge = view.locator("[name=seed]").first.evaluate("it => getComputedStyle(it).borderColor")
        assert contrast(paper, [int(part) for part in re.findall(r"\d+", edge)]) >= 3
        _screenshot(view, f"page_{scheme}")
    assert grounds["light"] > 200
    assert grounds["dark"] < 60
    assert (pixels[0] == pixels[1]).all()


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_chosen_is_seen_in_the_systems_colours(
    view: Page, scheme: Literal["light", "dark"]
) -> None:
    view.emulate_media(forced_colors="active", color_scheme=scheme)
    view.mouse.move(0, 0)
    highlight = view.evaluate(
        """() => {
            const probe = document.createElement('i');
            probe.style.color = 'Highlight';
            document.body.append(probe);
            const color = getComputedStyle(probe).color;
            probe.remove();
            return color;
        }"""
    )

    def style(selector: str, *names: str) -> set[tuple[str, ...]]:
        styles: list[list[str]] = view.locator(selector).evaluate_all(
            "(all, names) => all.map(one => names.map(name => getComputedStyle(one)[name]))", names
        )
        return {tuple(values) for values in styles}

    fill = ("backgroundColor", "borderTopColor")
    assert style(".choices input:checked + span", *fill) == {(highlight, highlight)}
    assert not style(".choices input:not(:checked) + span", *fill) & {(highlight, highlight)}
    frame = ("borderTopColor", "borderTopWidth")
    assert style(".pictures button[aria-pressed=true]", *frame) == {(highlight, "4px")}
    assert not style(".pictures button[aria-pressed=false]", *frame) & {(highlight, "4px")}
    # And a frame that is thicker makes no picture smaller.
    assert len(style("#digits canvas", "width", "height")) == 1
    # Words are read: in the middle of their button, pixels differ much.
    for button in view.locator(".choices span, .again button").all():
        with Image.open(io.BytesIO(button.screenshot())) as shot:
            inside = np.asarray(shot.convert("L"))[14:-14, 16:-16]
        assert np.ptp(inside) > 100, button.inner_text()
    _screenshot(view, f"page_forced_{scheme}")


@needs_chromium
def test_nothing_put_into_the_page_leads_it_elsewhere(browser: tuple[str, Browser]) -> None:
    address, chromium = browser
    view = chromium.new_page()
    view.goto(address)
    ready(view)
    refused = view.evaluate(
        """async () => {
            const refused = [];
            addEventListener('securitypolicyviolation',
                event => refused.push(event.effectiveDirective));
            const base = Object.assign(document.createElement('base'), {href: '/elsewhere/'});
            const form = Object.assign(document.createElement('form'), {action: '/elsewhere'});
            document.head.append(base);
            document.body.append(form);
            form.submit();
            await new Promise(done => setTimeout(done, 500));
            return refused;
        }"""
    )
    assert {*refused} == {"base-uri", "form-action"}
    assert view.url == address
    view.close()


def _screenshot(view: Page, name: str) -> None:
    shots = ROOT / "build" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    view.screenshot(path=shots / f"{name}.png", full_page=True)


LIBRARY = "vendor/onnxruntime-web/ort.wasm.bundle.min.mjs"
RUNTIME = "vendor/onnxruntime-web/ort-wasm-simd-threaded.wasm.gz"
PARTS = ("models/about.json", "models/digits.onnx", LIBRARY, RUNTIME)


@needs_chromium
@pytest.mark.parametrize("lost", PARTS)
def test_what_is_missing_is_said(browser: tuple[str, Browser], lost: str) -> None:
    said = trouble(browser, lost, lambda route: route.fulfill(status=404))
    assert said == f"the server has no {lost} (it says 404). Put all of the page's files there."


@needs_chromium
def test_a_server_that_does_not_answer_may_do_so_later(browser: tuple[str, Browser]) -> None:
    said = trouble(browser, LIBRARY, lambda route: route.abort())
    assert said == f"the server did not answer for {LIBRARY}. Reload the page to try again."


@needs_chromium
@pytest.mark.parametrize(
    ("broken", "body"),
    [*((part, b"<!doctype html>") for part in PARTS), (RUNTIME, b"\x1f\x8b\x08")],
)
def test_what_is_damaged_is_said(browser: tuple[str, Browser], broken: str, body: bytes) -> None:
    said = trouble(browser, broken, lambda route: route.fulfill(body=body))
    assert said == f"{broken} is damaged. Put the page's files on the server anew."


@needs_chromium
@pytest.mark.parametrize("needed", ["WebAssembly", "DecompressionStream"])
def test_what_a_browser_lacks_is_said(browser: tuple[str, Browser], needed: str) -> None:
    said = trouble(browser, script=f"delete window.{needed}")
    assert said == (
        f"this browser has no {needed}, and the page needs it. A current browser has it."
    )


def trouble(
    browser: tuple[str, Browser],
    path: str = "",
    answer: Callable[[Route], None] | None = None,
    script: str = "",
) -> str:
    """Return why the page could not start, with another answer for one of its files."""
    address, chromium = browser
    view = chromium.new_page()
    view.add_init_script(script)
    if answer:
        view.route(f"{address}{path}", answer)
    view.goto(address)
    beginning = "The page could not start: "
    said: str = alarm_of(view, beginning).inner_text()
    view.wait_for_load_state("networkidle")  # what else comes is not said any more
    assert view.locator("#message").inner_text() == ""
    assert view.locator("#digits[inert]").count() == 1
    view.close()
    return said.removeprefix(beginning)


@needs_chromium
def test_what_is_loading_is_said_and_when_it_stops(browser: tuple[str, Browser]) -> None:
    address, chromium = browser
    view = chromium.new_page()
    view.add_init_script(
        """window.said = [];
        new MutationObserver(() => {
            const text = document.getElementById('message')?.textContent.trim();
            if (text && text !== window.said.at(-1)) window.said.push(text);
        }).observe(document, {subtree: true, childList: true, characterData: true});"""
    )
    view.clock.install()
    held: list[Route] = []
    view.route(f"{address}models/holes.onnx", lambda route: held.append(route))
    view.goto(address)
    view.locator("#message", has_text=re.compile("^Loading: 7 of 10 MB")).wait_for()
    view.clock.run_for(21_000)
    silent = "The server has stopped answering: nothing has come for 20 seconds."
    assert view.locator("#message").inner_text().startswith(silent)
    held[0].continue_()
    ready(view)
    view.locator("#message", has_text=re.compile(r"^Ready\.$")).wait_for()
    said = view.evaluate("window.said")
    assert said[0].startswith("Starting.")
    # Each of 0 to 10 MB once, and the one at which it stood still once more after the silence.
    assert [text.startswith("Loading") for text in said].count(True) <= 12
    assert said[-3:] == ["Loading: 10 of 10 MB …", "Starting the networks …", "Ready."]
    view.clock.run_for(60_000)
    assert view.locator("#message").inner_text() == "Ready."
    view.close()


@needs_chromium
def test_the_footer_leads_to_the_notebooks_where_there_are_any(
    browser: tuple[str, Browser], view: Page
) -> None:
    link = view.get_by_role("link", name="The notebooks explain how.")
    assert link.get_attribute("href") == NOTEBOOKS
    assert "trained on MNIST." in view.locator("#about").inner_text()

    def without(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"home": None})

    view.route(f"{browser[0]}models/about.json", without)
    view.reload()
    ready(view)
    assert "trained on MNIST." in view.locator("#about").inner_text()
    assert link.count() == 0


@needs_chromium
def test_a_page_that_begins_with_a_bad_seed_says_so_and_mends(
    browser: tuple[str, Browser], cvae: ConditionalVAE
) -> None:
    """As where a browser brings back what stood in the field before."""
    address, chromium = browser
    view = chromium.new_page()

    def with_bad_seed(route: Route) -> None:
        page = route.fetch().text()
        assert page.count('value="0" required') == 2
        route.fulfill(body=page.replace('value="0" required', 'value="-5" required', 1))

    view.route(address, with_bad_seed)
    view.route(f"{address}index.html", with_bad_seed)
    view.goto(address)
    view.locator("#digits:not([inert])[aria-busy=false]").wait_for(timeout=20_000)
    alarm = alarm_of(view, "seed must be a whole number from 0")
    view.locator("#digits .pictures button").first.click()  # there is no digit yet
    assert alarm.is_visible()
    with drawn(view, "digits"):
        view.locator("#digits").get_by_label("Seed").fill("0")
    assert not alarm.is_visible()
    digits_are_pytorchs(view, cvae, 7)
    ready(view)  # and the first digit lies on the page
    assert shown(view, "holes")["image"].sum() > 0
    view.close()


@needs_chromium
def test_without_javascript_it_says_what_it_needs(browser: tuple[str, Browser]) -> None:
    address, chromium = browser
    context = chromium.new_context(java_script_enabled=False)
    view = context.new_page()
    view.goto(address)
    assert "needs JavaScript and a web server" in view.locator("#message").inner_text()
    context.close()


@needs_chromium
def test_a_server_that_unpacks_on_the_way_does_no_harm(
    browser: tuple[str, Browser], site: Path, tmp_path: Path
) -> None:
    """Some servers declare a .gz file as packed for the journey, and browsers then unpack it."""
    shutil.copytree(site, tmp_path, dirs_exist_ok=True)
    (packed,) = tmp_path.rglob("*.wasm.gz")
    packed.write_bytes(gzip.decompress(packed.read_bytes()))
    with served(tmp_path) as address:
        view = browser[1].new_page()
        view.goto(address)
        ready(view)
        view.close()
