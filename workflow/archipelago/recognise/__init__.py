"""Which objects look like quasars and lensed quasars, judged by their images alone."""
