"""Evaluation of models: predictions, scores of every neuron, their summaries and comparisons."""
