"""The embedded survey: a synthetic sky and a loopback server."""
