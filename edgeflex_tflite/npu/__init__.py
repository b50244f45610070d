"""Compiling a written file for its target, by the tool of whoever made the chip."""
