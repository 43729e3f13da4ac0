"""Whole models: built from plain options, saved, given other sessions, and joined to ensembles."""
