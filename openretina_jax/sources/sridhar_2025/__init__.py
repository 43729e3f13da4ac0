"""Recordings of Sridhar et al. 2025 and Vystrčilová et al. 2024: spikes of marmoset ganglion cells."""

from openretina_jax.sources.sridhar_2025.sessions import load_sridhar_2025

__all__ = ["load_sridhar_2025"]
