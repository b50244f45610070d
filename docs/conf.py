"""How Sphinx builds the guide and the reference: `make docs`."""

from __future__ import annotations

import importlib.metadata

project = "EdgeFlex-TFLite"
release = importlib.metadata.version("edgeflex-tflite")
html_title = f"{project} {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_ivar = True  # fields stay a list: as members they would be described twice
napoleon_use_rtype = False
python_maximum_signature_line_length = 100

nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!edgeflex_tflite\.).*")]
"""Other packages have their own references, which a build without network cannot see."""
nitpick_ignore = [("py:class", "edgeflex_tflite.report.console.Console")]
"""What the commands alone give to the API."""
