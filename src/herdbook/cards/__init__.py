"""The vCards that contacts came from: what they have more than the contact, kept so that it comes out again."""
