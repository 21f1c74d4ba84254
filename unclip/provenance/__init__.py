"""Where a picture comes from: what was written into its file."""
