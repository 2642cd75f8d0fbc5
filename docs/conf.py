"""The documentation site: these pages, and the Python API from the docstrings."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

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
# Pages of figures and tables are made by benchmarks.
suppress_warnings = ["toc.empty_glob"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# numpydoc stumbles over the signatures of some compiled classes that modules import.
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
