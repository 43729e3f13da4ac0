"""What pyproject.toml cannot say: the configurations, a folder of their own, are installed within the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["openretina_jax*"]), "openretina_jax.configs", "openretina_jax.configs.spaces"],
    package_dir={"openretina_jax.configs": "configs"},
)
