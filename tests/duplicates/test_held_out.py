"""Weights that were fitted to some persons, measured on others."""

import pytest

from bench.febrl import fitted, measured


@pytest.mark.parametrize("name", ["3", "4"])
def test_weights_hold_for_persons_that_they_were_not_fitted_to(name: str) -> None:
    """The evidence, with the weights that fit the first two data sets, finds those of the others, and little else."""
    precision, recall = measured(name, fitted(("1", "2")))

    assert precision >= 0.98, (precision, recall)
    assert recall >= 0.9, (precision, recall)
