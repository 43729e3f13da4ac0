"""Experiments on trained models: most exciting stimuli, receptive fields, gradients, tuning, and their truth."""
