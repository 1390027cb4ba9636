"""The people whose keys act for users."""

from tests.console.conftest import people

__all__ = ["people"]
