"""Erasure: a person's data are removed from every place that has them."""
