"""The request log: the latest requests of each workspace, without their bodies and the values of their parameters."""
