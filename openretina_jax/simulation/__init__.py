"""A simulated retina, recorded and stored in the formats of the publications."""
