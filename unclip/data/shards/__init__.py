"""Pictures in shards: plain WebDataset tars as img2dataset writes them, read through energon."""
