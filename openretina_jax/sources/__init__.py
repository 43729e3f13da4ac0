"""Recordings of publications and of your own: a module for each, whose loader gives a ``Dataset``.

A loader is a function of plain options that returns a ``Dataset``. It enters by name with ``@SOURCES("name")``;
``config.data.source`` is that name, the other entries of ``config.data`` are its options. Loaders outside this package
may stay there: ``config.data.source = "my_lab.my_module:load_mine"``.
"""

from openretina_jax.runtime.registry import Registry

SOURCES = Registry("source", __name__)
# functions that list all that is wrong with the files of a source, a line each; they take those of its options that
# they need
PROBLEMS = Registry("list of problems", __name__)
