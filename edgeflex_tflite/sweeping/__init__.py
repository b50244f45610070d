"""Many recipes on one model, or on several: points of a grid, the processes that make them, the front that is left."""
