"""Stimuli, sessions, splits and windows."""
