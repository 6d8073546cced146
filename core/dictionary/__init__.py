"""Sparse dictionaries of a layer: training, measures on held-out photos, stability over seeds."""
