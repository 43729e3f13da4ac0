"""Recordings of Höfling et al. 2024: calcium imaging of mouse ganglion cells."""

from openretina_jax.sources.hoefling_2024.sessions import load_artificial_responses, load_hoefling_2024

__all__ = ["load_artificial_responses", "load_hoefling_2024"]
