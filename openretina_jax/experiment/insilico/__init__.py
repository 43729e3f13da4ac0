"""Experiments of ``scripts/insilico.py``: a module for each family of them.

One more experiment is one more class, ``@EXPERIMENTS("name")`` in a module here, or ``my_lab.module:Class`` on the
command line. Its fields are its options; ``experiment.py`` says what it must have, and ``run.py`` runs it.
"""

from openretina_jax.runtime.registry import Registry

EXPERIMENTS = Registry("experiment", __name__)
