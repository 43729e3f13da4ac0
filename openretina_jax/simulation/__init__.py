"""Simulated retinas, whose responses without noise are known, in the file formats of the publications."""
