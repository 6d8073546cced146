"""Unitscope's engine: dissect image classifiers, explain and change what they do."""
