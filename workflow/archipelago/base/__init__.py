"""What every room uses: errors, files, tables, logs, progress."""
