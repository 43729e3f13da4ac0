"""The training loop: state, step, optimisers, patience, checkpoints, logs."""
