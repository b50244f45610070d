"""Results as pages: each one file that loads nothing, light and dark, with plots that the reader's browser draws."""
