"""History: the changes of an object, and how to reverse them."""
