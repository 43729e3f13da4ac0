"""Models of openretina in and out, and programs that run without this package."""

from openretina_jax.interop.exported import export, load_exported
from openretina_jax.interop.openretina import load_autoencoder, load_checkpoint, to_openretina

__all__ = ["export", "load_autoencoder", "load_checkpoint", "load_exported", "to_openretina"]
