"""The status of the server, for administrators."""
