"""Maps, clusters of features and their enrichment in known quasars."""
