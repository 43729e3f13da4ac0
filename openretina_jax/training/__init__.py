"""Training: the loop, trainers and their states, objectives, optimisers, populations, checkpoints, callbacks."""
