"""The programs behind `make kill`: a server under load is broken in all ways that we know, and what it had acknowledged is sought."""
