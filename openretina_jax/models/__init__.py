"""Whole models, built from plain options."""
