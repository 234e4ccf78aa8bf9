"""How Sphinx makes the site of the series: `make site`.

The source is the repository itself, as it stands: a link between two of its files is a link between
two pages. Nothing is executed, the pages show the outputs that the notebooks hold. Nothing is
fetched either, not by the build and not by a page.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import inspect
import io
import os
import textwrap
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import nbformat
from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import signature as sphinx_signature
from sphinx.util.inspect import stringify_signature
from sphinx_codeautolink.extension.backref import SummaryNode

import cvae_utils
from cvae_utils import cli
from tools.launch import on_github, origin

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Conditional VAEs"
author = "The conditional VAE notebooks contributors"
version = release = cvae_utils.__version__
root_doc = "docs/site/index"
include_patterns = [
    "docs/site/**.md",
    "notebooks/*.ipynb",
    "docs/*.md",
    "checkpoints/README.md",
    "data/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
# The two tables stand in the README, and so among the results.
exclude_patterns = [".*", "build", "docs/site/static", "docs/comparison.md", "docs/holes.md"]

extensions = [
    "myst_nb",
    "sphinx.ext.napoleon",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_codeautolink",
]

# Notebooks
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, Any] = {}  # they would come from another server
# An app needs a kernel; its still picture does not.
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
nb_code_prompt_show = nb_code_prompt_hide = "Solution"  # nothing else is folded
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
mathjax_path = "mathjax/tex-svg.js"  # formulas, out of a file of our own: static/mathjax
mathjax3_config = {"options": {"enableMenu": False}}  # it would make each a stop of the tab key

# The API reference
napoleon_use_ivar = True  # attributes as a list, as a docstring has them
default_role = "py:obj"  # `name` in a docstring is a link where there is such a name
add_module_names = False
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True  # a function by its name, not by its place in memory
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
autosummary_generate = False  # a page per module, not one per function

# Names in code are links to the reference, and the reference lists where a name is used.
codeautolink_concat_default = True  # a cell goes on where the one before it ended
codeautolink_autodoc_inject = True

# The look
html_theme = "sphinx_book_theme"
html_title = project
html_favicon = "../../page/icon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_extra_path = ["front"]


def launch_buttons(address: str) -> dict[str, Any]:
    """Return the theme's options for buttons to Colab and Binder.

    Args:
        address: the repository's, as git knows it.

    Returns:
        Nothing, unless it is on GitHub, where both look.
    """
    repository = on_github(address)
    if not repository:
        return {}
    return {
        "repository_url": f"https://github.com/{repository}",
        "repository_branch": "main",
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        },
    }


html_context = {"default_mode": "auto"}  # light or dark, as the reader's system has it
html_theme_options = {
    "navbar_persistent": [],  # the search field stands in the sidebar already
    "use_download_button": False,  # a notebook runs in the repository alone
    **launch_buttons(origin()),
}


def offered(module: ModuleType) -> list[str]:
    """Return the classes and functions of a module's `__all__`, or those that it defines itself."""
    named: list[str] | None = getattr(module, "__all__", None)
    values = {name: getattr(module, name) for name in named or vars(module)}
    return [
        name
        for name, value in values.items()
        if inspect.isclass(value) or inspect.isfunction(value)
        if named or (value.__module__ == module.__name__ and not name.startswith("_"))
    ]


def add_summary(
    app: Sphinx, what: str, name: str, module: ModuleType, options: object, lines: list[str]
) -> None:
    """Put a table of what a module offers between its own docstring and theirs."""
    if what == "module":
        lines += ["", ".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   {one}" for one in offered(module)]
        lines.append("")


def own_signature(
    app: Sphinx,
    what: str,
    name: str,
    thing: type,
    options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str, str | None] | None:
    """Show what a class itself wants, where a widget's base takes anything; a factory as `...`."""
    if what != "class" or signature is None:
        return None
    if signature.startswith("(*args"):
        wanted = sphinx_signature(thing.__init__, bound_method=True)  # type: ignore[misc]
        signature = stringify_signature(
            wanted, show_return_annotation=False, unqualified_typehints=True
        )
    return signature.replace("<factory>", "..."), returned


def skip_fields(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leave out the fields of a named tuple: its docstring lists them, and says what they are."""
    return True if (member.__doc__ or "").startswith("Alias for field number") else None


def words_of_outputs(path: Path) -> dict[str, str]:
    """Return what a notebook says of its pictures, by the digest that their files are named by."""
    said = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            words = output.get("metadata", {}).get("image/png", {}).get("alt")
            if words:
                picture = base64.b64decode(output.data["image/png"])
                said[hashlib.sha256(picture).hexdigest()] = words
    return said


def describe_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Let a reader who sees no pictures hear what one shows, or at least where it stands."""
    source = app.env.doc2path(app.env.docname)
    said = words_of_outputs(source) if source.suffix == ".ipynb" else {}
    untold: dict[str, list[nodes.image]] = defaultdict(list)  # by heading
    for picture in doctree.findall(nodes.image):
        section = picture
        while section and not isinstance(section, nodes.section):
            section = section.parent
        if "alt" in picture:
            continue
        if words := said.get(Path(picture["uri"]).stem):
            picture["alt"] = words
        elif section:
            untold[section[0].astext()].append(picture)
    for heading, pictures in untold.items():
        for number, picture in enumerate(pictures, start=1):
            which = f" {number} of {len(pictures)}" if len(pictures) > 1 else ""
            picture["alt"] = f"Picture{which}: {heading}"


def mention_playground(app: Sphinx, doctree: nodes.document) -> None:
    """Say at the beginning of notebook 00 that the site has its apps without Python."""
    if app.env.docname == "notebooks/00_playground":
        where = nodes.reference("", "in your browser, without Python")
        where["refuri"] = "../playground/index.html"
        line = nodes.paragraph("", "Some of this runs ")
        line += [where, nodes.Text(" (the page needs a web server).")]
        title = next(doctree.findall(nodes.title))
        title.parent.insert(2, line)


def describe_page(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Let a page's first paragraph be what other programs, a search for one, say of it."""
    if doctree and (first := next(doctree.findall(nodes.paragraph), None)):
        words = html.escape(textwrap.shorten(first.astext(), 200, placeholder=" …"))
        context["metatags"] += f'<meta name="description" content="{words}" />'


def unlink_summaries(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Let a line that unfolds do that alone: what it names is the entry that it stands in."""
    for summary in doctree.findall(SummaryNode):
        for link in list(summary.findall(nodes.reference)):
            link.replace_self(link.children)


class CommandHelp(SphinxDirective):
    """The `--help` of a command of the library, as a terminal shows it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the text as the reader of this version would see it."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            cli.parser().parse_args([*self.arguments, "--help"])
        return [nodes.literal_block("", said.getvalue(), language="text")]


def setup(app: Sphinx) -> None:
    """Let Sphinx call what is defined here."""
    app.connect("autodoc-process-docstring", add_summary, priority=400)
    app.connect("autodoc-process-signature", own_signature)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("doctree-read", describe_pictures)
    app.connect("doctree-read", mention_playground)
    app.connect("doctree-resolved", unlink_summaries, priority=600)  # after they are made
    app.connect("html-page-context", describe_page)
    app.add_directive("command-help", CommandHelp)
    os.environ["COLUMNS"] = "72"  # of that terminal: a page's width
