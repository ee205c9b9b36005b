"""Builds the documentation with Sphinx: `uv run --group docs sphinx-build -W --keep-going docs docs/_build`."""

import pathlib
import re
import sys

from sphinx.util import logging

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

project = "gwa"
author = copyright = "gwa developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "gwa"
highlight_language = "none"  # indented blocks are shell commands and file lists; Python blocks say that they are Python

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_mock_imports = ["torch", "lightning", "transformers"]
autodoc_member_order = "bysource"
autoclass_content = "both"
autodoc_typehints = "none"  # the docstrings give shapes and units, which the annotations cannot
default_role = "code"
napoleon_use_ivar = True
napoleon_attr_annotations = False

LINK_OUT = re.compile(r"(?<!!)\[([^\]]*)\]\((\.\./[^)#]*)(?:#[^)]*)?\)")


def show_links_out_as_text(app, docname, source):
    """Links to files outside of docs/ work on a code host; in the site, which has no such pages, the text remains."""

    def text_of(link):
        target = pathlib.Path(app.srcdir, docname).parent.joinpath(link[2]).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return link[0]
        if not target.exists():
            logging.getLogger(__name__).warning("%s links to %s, which does not exist", docname, link[2])
        return link[1]

    source[0] = LINK_OUT.sub(text_of, source[0])


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", show_links_out_as_text)
