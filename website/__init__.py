"""The site: pages made from signatures, docstrings, commands and notebooks, and the pictures of the docs."""
