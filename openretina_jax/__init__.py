"""Deep core + readout models of the retina: train on many recordings at once, probe in silico."""
