"""The feed: a workspace's changes, for programs that follow them."""
