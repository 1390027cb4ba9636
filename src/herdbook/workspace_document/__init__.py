"""The OpenAPI document of one workspace, with its own fields."""
