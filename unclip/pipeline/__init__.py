"""The assembled system: prompts and pictures in, pictures out, and models on disk."""
