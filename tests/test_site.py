"""The site: built once as `make site` does, walked file by file, and opened in a real browser."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import os
import posixpath
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import nbformat
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from cvae_utils import cli
from tests.browser import CHROMIUM
from tests.served import served
from tests.test_project import NOTEBOOKS, ROOMS

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "docs" / "site"
MEGABYTES = 25
HOME = "docs/site/index.html"
PLAYGROUND = "playground/index.html"  # `make site` puts it there, after the pages
ORIGIN = "git@github.com:someone/series.git"
PHONE = {"width": 360, "height": 844}
INNER = {"checks", "files", "graphs", "interrupts", "snapshots"}  # nothing that a notebook calls

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")


class Html(HTMLParser):
    """What a page names: its anchors, what it links to, what it loads by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    @property
    def anchors(self) -> set[str]:
        return {attributes["id"] for _, attributes in self.tags if "id" in attributes}

    @property
    def links(self) -> list[str]:
        return [attributes["href"] for tag, attributes in self.tags if attributes.get("href")]

    @property
    def loaded(self) -> list[str]:
        own = [attributes.get("src", "") for _, attributes in self.tags]
        return [*filter(None, own), *(a.get("href", "") for tag, a in self.tags if tag == "link")]

    def of_class(self, name: str) -> list[dict[str, str]]:
        return [a for _, a in self.tags if name in a.get("class", "").split()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, from a repository that was cloned from `ORIGIN`."""
    folder = tmp_path_factory.mktemp("site")
    git = ["git", "--git-dir", str(folder / "git")]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "remote", "add", "origin", ORIGIN], check=True)
    makefile = (ROOT / "Makefile").read_text()
    (words,) = re.findall(r"python (-m sphinx .*) -d build/doctrees \. build/site\n", makefile)
    done = subprocess.run(
        [sys.executable, *words.split(), "-d", folder / "doctrees", ".", folder / "pages"],
        cwd=ROOT,
        env=os.environ | {"GIT_DIR": str(folder / "git"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "pages"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Html]:
    found = sorted(site.rglob("*.html"))
    templates = site / "_static"  # the theme's own, no pages
    return {
        path.relative_to(site).as_posix(): Html(path)
        for path in found
        if not path.is_relative_to(templates)
    }


def notebook_pages() -> list[str]:
    return [f"notebooks/{path.stem}.html" for path in NOTEBOOKS]


def test_no_page_leads_to_nothing_or_loads_from_elsewhere(
    site: Path, pages: dict[str, Html]
) -> None:
    assert {HOME, "search.html", "docs/reliability.html", "CHANGELOG.html"} < set(pages)
    checked = 0
    for name, page in pages.items():
        assert {urlsplit(target).scheme for target in page.loaded} <= {"", "data"}, name
        for target in {*page.links, *page.loaded}:
            address, anchor = urldefrag(target)
            if urlsplit(address).scheme or urlsplit(address).netloc:
                continue  # a link that a reader may follow, to a paper or to Colab
            path = urlsplit(unquote(address)).path
            aim = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
            aim = aim if path else name
            assert aim == PLAYGROUND or (site / aim).is_file(), (name, target)
            if anchor and aim in pages:
                assert unquote(anchor) in pages[aim].anchors, (name, target)
            checked += 1
    assert checked > 2000


def test_the_playground_goes_where_the_pages_look_for_it(pages: dict[str, Html]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    folder = posixpath.dirname(PLAYGROUND)
    (home,) = re.findall(f"-m cvae_utils.export --out build/site/{folder} --home (.*)\n", makefile)
    assert posixpath.normpath(posixpath.join(folder, home)) == HOME
    assert f"../../{PLAYGROUND}" in pages[HOME].links
    assert f"../{PLAYGROUND}" in pages[notebook_pages()[0]].links


def test_the_front_page_has_it_served_to_this_machine_alone() -> None:
    (server,) = re.findall(r"python -m http\.server ([^`]*)`", (SOURCE / "index.md").read_text())
    assert "--bind 127.0.0.1 " in server


def test_it_is_not_too_large_and_names_no_folder_of_its_maker(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MEGABYTES * 1e6
    for path in files:
        assert str(ROOT).encode() not in path.read_bytes(), path


def test_the_pages_follow_one_another_in_reading_order(pages: dict[str, Html]) -> None:
    name, visited = HOME, [HOME]
    while onward := pages[name].of_class("right-next"):
        before, name = (
            name,
            posixpath.normpath(posixpath.join(posixpath.dirname(name), onward[0]["href"])),
        )
        (back,) = pages[name].of_class("left-prev")
        assert posixpath.normpath(posixpath.join(posixpath.dirname(name), back["href"])) == before
        visited.append(name)
    assert visited[1:9] == notebook_pages()
    rooms = [f"docs/site/api/{room}.html" for room in ROOMS if room not in INNER]
    assert [page for page in visited if "/api/" in page] == ["docs/site/api/index.html", *rooms]
    assert set(visited) == set(pages) - {
        "index.html", "search.html", "genindex.html", "py-modindex.html"
    }  # fmt: skip


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in INNER])
def test_the_reference_has_a_table_and_an_entry_for_every_public_name(
    pages: dict[str, Html], room: str
) -> None:
    page = pages[f"docs/site/api/{room}.html"]
    offered: Callable[..., list[str]] = runpy.run_path(str(SOURCE / "conf.py"))["offered"]
    names = offered(importlib.import_module(f"cvae_utils.{room}"))
    assert names
    (table,) = re.findall(r"<table class=\"autosummary.*?</table>", page.text, re.DOTALL)
    for name in names:
        full = f"cvae_utils.{room}.{name}"
        assert full in page.anchors
        assert f'href="#{full}"' in table


def test_every_command_is_shown_with_its_help_and_an_example() -> None:
    source = (SOURCE / "api" / "cli.md").read_text()
    examples = re.findall(r"^python -m cvae_utils (.*)$", source, re.MULTILINE)
    (commands,) = (
        action.choices
        for action in cli.parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    assert [cli.parser().parse_args(shlex.split(each)).command for each in examples] == [*commands]
    assert re.findall(r"^```{command-help} (.*)$", source, re.MULTILINE) == [*commands]


def test_the_reference_lists_the_options_of_the_command_line(pages: dict[str, Html]) -> None:
    shown = pages["docs/site/api/cli.html"].text
    for option in "--resume", "--effort", "--per-label", "--completions", "--importance-samples":
        assert option in shown
    assert "usage: python -m cvae_utils train" in shown


def test_a_page_says_what_it_is_about(pages: dict[str, Html]) -> None:
    titles = set()
    for name, page in pages.items():
        if name in {"index.html", "search.html", "genindex.html", "py-modindex.html"}:
            continue
        (about,) = [a["content"] for tag, a in page.tags if a.get("name") == "description"]
        assert 30 < len(about) <= 200, name
        titles.add(re.findall("<title>(.*)</title>", page.text)[0])
    assert len(titles) == len(pages) - 4
    assert "<title>Eight notebooks in PyTorch &#8212; Conditional VAEs</title>" in pages[HOME].text


def test_no_two_pictures_of_a_notebook_are_called_the_same(pages: dict[str, Html]) -> None:
    told = {}
    for name in notebook_pages():
        pictures = [a for tag, a in pages[name].tags if tag == "img" and "_images" in a["src"]]
        told[name] = [picture["alt"] for picture in pictures]
        assert len({*told[name]}) == len(told[name]), name
    assert "Picture 2 of 3: Digits that nobody wrote" in told["notebooks/01_vae.html"]
    assert "twenty eights" in told["notebooks/00_playground.html"]  # as its own output has it


def test_a_line_that_unfolds_holds_no_link(pages: dict[str, Html]) -> None:
    for name, page in pages.items():
        for summary in re.findall("<summary.*?</summary>", page.text, re.DOTALL):
            assert "<a " not in summary, name


def test_no_button_offers_a_notebook_without_its_repository(pages: dict[str, Html]) -> None:
    for name in notebook_pages():
        assert not any("_sources/" in link for link in pages[name].links), name


def test_a_hidden_cell_is_folded(pages: dict[str, Html]) -> None:
    for path, name in zip(NOTEBOOKS, notebook_pages(), strict=True):
        cells = nbformat.read(path, as_version=4).cells
        hidden = [c for c in cells if {"hide-cell", "hide-input"} & {*c.metadata.get("tags", [])}]
        shown = [
            a for tag, a in pages[name].tags if tag == "details" and "hide" in a.get("class", "")
        ]
        assert len(shown) == len(hidden), name
        assert not any("open" in attributes for attributes in shown)


@pytest.mark.parametrize(
    ("origin", "repository"),
    [
        ("https://github.com/someone/series", "someone/series"),
        ("https://github.com/someone/series.git", "someone/series"),
        ("git@github.com:some-one/the.series.git", "some-one/the.series"),
        ("https://gitlab.com/someone/series", None),
        ("https://github.com.example.org/someone/series", None),
        ("/srv/series.git", None),
        ("", None),
    ],
)
def test_launch_buttons_need_a_repository_on_github(origin: str, repository: str | None) -> None:
    options = runpy.run_path(str(SOURCE / "conf.py"))["launch_buttons"](origin)
    assert options.get("repository_url") == (repository and f"https://github.com/{repository}")
    assert ("launch_buttons" in options) == (repository is not None)


def test_a_notebook_has_launch_buttons_and_no_other_page_has(pages: dict[str, Html]) -> None:
    for name, page in pages.items():
        outward = [link for link in page.links if "colab" in link or "mybinder" in link]
        path = name.replace(".html", ".ipynb")
        assert outward == [
            f"https://mybinder.org/v2/gh/someone/series/main?urlpath=lab/tree/{path}",
            f"https://colab.research.google.com/github/someone/series/blob/main/{path}",
        ] * (name in notebook_pages())


def test_mathjax_is_the_file_that_its_readme_names() -> None:
    folder = SOURCE / "static" / "mathjax"
    digest = hashlib.sha256((folder / "tex-svg.js").read_bytes()).hexdigest()
    assert digest in (folder / "README.md").read_text()
    assert "Apache License" in (folder / "LICENSE").read_text()


# In the browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[str]:
    with served(site) as address:
        yield address


@pytest.fixture(scope="module", params=["served", "from the disk"])
def address(request: pytest.FixtureRequest, site: Path, server: str) -> str:
    return server if request.param == "served" else f"{site.as_uri()}/"


@contextlib.contextmanager
def opened(chromium: Browser, address: str, **settings: Any) -> Iterator[Page]:
    """Give a page that must ask for nothing outside the site, and complain about nothing."""
    context = chromium.new_context(**{"viewport": {"width": 1200, "height": 900}} | settings)
    view = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    view.on(
        "requestfailed",  # but for what a click leaves behind
        lambda request: None if "ABORTED" in request.failure else complaints.append(request.url),
    )
    view.on(
        "console",
        lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None,
    )
    view.on("pageerror", lambda error: complaints.append(str(error)))
    yield view
    context.close()
    assert asked
    assert [url for url in asked if not url.startswith((address, "data:"))] == []
    assert complaints == []


LOOK = """async () => {
    await window.MathJax?.startup?.promise;
    const formulas = [...document.querySelectorAll('.math')];
    const pictures = [...document.querySelectorAll('.bd-article img')];
    return {
        formulas: formulas.length,
        stops: formulas.filter(it => it.querySelector('[tabindex]')).length,
        silent: formulas.filter(it => !it.querySelector('mjx-assistive-mml math')).length,
        raw: formulas.filter(it => !it.querySelector('mjx-container svg')
            || it.querySelector('[data-mjx-error], [fill=red]')).map(it => it.textContent),
        pictures: pictures.length,
        broken: pictures.filter(it => !it.naturalWidth).map(it => it.src),
        unnamed: pictures.filter(it => !it.alt || it.alt.endsWith('.png')).map(it => it.src),
        wider: document.documentElement.scrollWidth - innerWidth,
        cut: [...document.querySelectorAll('table.autosummary')]
            .filter(it => it.offsetWidth > it.parentElement.clientWidth).length,
        unsaid: [...document.querySelectorAll('summary')]
            .filter(it => !it.ariaLabel && !it.textContent.trim()).length,
    };
}"""


@needs_chromium
def test_a_phone_shows_formulas_and_pictures_and_does_not_scroll_sideways(
    chromium: Browser, address: str
) -> None:
    with opened(chromium, address, viewport=PHONE) as view:
        library = [f"docs/site/api/{room}.html" for room in ("evaluation", "models", "cli")]
        names = [HOME, *notebook_pages(), "docs/site/results.html", *library]
        seen = {}
        for name in names if address.startswith("http") else names[:3]:
            view.goto(address + name)
            seen[name] = view.evaluate(LOOK)
        flaws = ("raw", "stops", "silent", "broken", "unnamed", "wider", "cut", "unsaid")
        wrong = {name: {flaw for flaw in flaws if page[flaw]} for name, page in seen.items()}
        assert wrong == {name: set() for name in seen}, seen
        assert seen["notebooks/01_vae.html"]["formulas"] > 20
        assert all(page["pictures"] for name, page in seen.items() if name.startswith("notebooks"))


@needs_chromium
def test_the_search_finds_a_word_and_leads_to_its_page(chromium: Browser, address: str) -> None:
    with opened(chromium, address) as view:
        view.goto(f"{address}index.html")  # the front door leads to the landing page
        view.wait_for_url(f"{address}{HOME}")
        view.keyboard.press("Control+k")
        view.keyboard.type("reparameterization")
        view.keyboard.press("Enter")
        view.wait_for_url(re.compile(r"search\.html\?q=reparameterization"))
        found = view.locator("ul.search li a")
        found.filter(has_text="01 · The variational autoencoder").first.click()
        view.wait_for_url(re.compile(r"notebooks/01_vae\.html"))
        assert "reparameterization trick" in view.locator("article").inner_text()


@needs_chromium
def test_a_name_in_code_leads_to_the_reference_and_back(chromium: Browser, server: str) -> None:
    with opened(chromium, server) as view:
        view.goto(f"{server}notebooks/01_vae.html")
        view.locator(".cell_input a[href$='#cvae_utils.training.fit']").first.click()
        view.wait_for_url(f"{server}docs/site/api/training.html#cvae_utils.training.fit")
        entry = view.locator("dl", has=view.locator("[id='cvae_utils.training.fit']")).last
        assert entry.locator("dt").first.is_visible()
        entry.locator("summary").click()
        entry.get_by_role("link", name="01 · The variational autoencoder").first.click()
        view.wait_for_url(re.compile(r"notebooks/01_vae\.html#.+"))


@needs_chromium
def test_pictures_are_seen_in_the_dark(chromium: Browser, server: str) -> None:
    with opened(chromium, server, color_scheme="dark") as view:
        view.goto(f"{server}notebooks/01_vae.html")

        def shades(what: str) -> np.ndarray[Any, Any]:
            seen = view.locator(what).first.screenshot()
            return np.asarray(Image.open(io.BytesIO(seen)).convert("L"))

        assert np.median(shades("article h1")) < 50  # the page is dark,
        digits = shades("article .cell_output img")
        assert np.median(digits) > 150  # its pictures are ink on paper all the same
        assert np.quantile(digits, 0.02) < 80
