"""Ways to compute the convolutions of cores: equal to rounding, chosen by device and shape."""
