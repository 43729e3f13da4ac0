"""Pages of experiments, which need nothing but themselves and fit on a phone: a card for every neuron."""
