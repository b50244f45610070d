"""Memory-aware structured pruning of the MLPs: score, allocate, compensate, cut."""
