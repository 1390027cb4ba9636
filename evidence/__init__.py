"""The programs behind `make kill`: servers are broken under load, and what they had acknowledged is sought."""
