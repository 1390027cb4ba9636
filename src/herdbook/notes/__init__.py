"""Notes: dated texts of a person, on a contact or a company."""
