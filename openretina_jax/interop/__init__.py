"""Models of openretina in and out, and programs that run without this package."""

from openretina_jax.interop.checkpoints import load_autoencoder, load_checkpoint

__all__ = ["load_autoencoder", "load_checkpoint"]
