"""OAuth 2.0: tokens for programs that other people have made."""
