"""Evidence combined into one ranked table."""
