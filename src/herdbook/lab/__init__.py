"""The lab: workspaces that a test makes in milliseconds and commands. It is there only if a server is started with it."""
