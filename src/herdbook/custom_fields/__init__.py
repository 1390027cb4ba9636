"""Fields that a workspace defines for its contacts and companies, and the values of these fields."""
