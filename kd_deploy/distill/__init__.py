"""Teacher to student. torch lives here."""
