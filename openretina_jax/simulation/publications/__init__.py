"""Simulators, a module per publication: ``SimulationConfig``, and ``simulate``, which writes files of its format."""
