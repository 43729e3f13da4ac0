"""The field's simple models, fitted to all neurons of a data set: what a network has to beat."""
