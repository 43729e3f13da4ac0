"""One file per publication: raw files to a ``Dataset``."""
