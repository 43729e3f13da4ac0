"""Recordings of Höfling et al. 2024: calcium imaging of mouse ganglion cells."""

from openretina_jax.sources.hoefling_2024.sessions import from_settings

__all__ = ["from_settings"]
