"""Search for good hyper-parameters: every trial is a run of ``openretina-jax train``."""
