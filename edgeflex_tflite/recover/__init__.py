"""Closed-form recovery: one walk over the model in which every linear is solved for what the dense model answers."""
