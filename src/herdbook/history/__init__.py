"""History: how an object became what it is, and the ways back."""
