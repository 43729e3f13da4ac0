"""How well a model predicts: scores of every neuron, tables and summaries."""
