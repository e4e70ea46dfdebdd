"""The configuration: its schema, its errors, its tiles and targets."""
