"""Cores, readouts, layers, regularisers and losses: flax NNX modules and functions that know no data or training."""
