"""Pictures of data, of models, and of what they predict. Every function returns a figure, which the caller saves."""
