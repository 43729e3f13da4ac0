"""The ground floor: files, downloads, devices, processes, registries and settings."""
