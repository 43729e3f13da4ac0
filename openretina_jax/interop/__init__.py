"""Models of openretina in and out, and programs that run without this package."""

from openretina_jax.interop.exported import export, export_stream, load_exported, load_exported_stream
from openretina_jax.interop.openretina import load_autoencoder, load_checkpoint, to_openretina

__all__ = [
    "export",
    "export_stream",
    "load_autoencoder",
    "load_checkpoint",
    "load_exported",
    "load_exported_stream",
    "to_openretina",
]
