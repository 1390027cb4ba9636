"""OAuth 2.0: tokens for programs of third parties."""
