"""Many writes of objects of one type in one request."""
