"""What the candidates become for other programs and for the telescope."""
