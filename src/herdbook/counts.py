"""How many there are, in words."""


def number_of(many: int, one: str, several: str = "") -> str:
    """Return a number of things, such as `1 row` and `1,200 rows`. `several` is for those that take more than an `s`."""
    return f"{many:,} {one if many == 1 else several or one + 's'}"
