"""Images of quasars and lensed quasars as this survey would show them."""
