"""Simulated recordings in the format of each publication, a file per publication."""
