"""From settings to runs: the only room that knows configurations."""
