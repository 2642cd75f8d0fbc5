"""The documentation site: these pages, and the Python API from the docstrings."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from types import GenericAlias
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
# Importing torch for the docstrings must not take all cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "hopscreen"
author = "The hopscreen developers"
project_copyright = author
version = release = version_of("hopscreen")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
# Tables that a benchmark writes are linked from the page that tells of it.
suppress_warnings = ["toc.not_included"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# numpydoc stumbles over the signature of this compiled class.
autodoc_default_options = {"members": True, "exclude-members": "model_config, cKDTree"}
numpydoc_show_class_members = False
# References stand in the docstrings; classes of other packages are not linked.
nitpicky = False

html_theme = "pydata_sphinx_theme"
html_title = f"hopscreen {version}"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": True,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}


def _skip_aliases(
    app: Any, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out names of types, as ``tuple[int, ...]``: numpydoc takes them for functions."""
    return True if isinstance(thing, GenericAlias) else None


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", _skip_aliases)
