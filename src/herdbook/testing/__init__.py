"""herdbook in tests written with pytest: a workspace for each test, on one server for all of them."""
