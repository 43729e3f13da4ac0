"""New neurons for a trained core: its maps are computed once, and only the readout is fitted."""
