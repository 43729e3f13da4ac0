"""From settings to runs: the only package that knows configurations."""
