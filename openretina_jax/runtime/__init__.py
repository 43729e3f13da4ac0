"""The lowest layer: files, downloads, devices, processes, registries and settings."""
