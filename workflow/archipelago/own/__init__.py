"""A search that starts from the user's own catalogue or own images."""
