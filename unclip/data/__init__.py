"""Training data: image folders, captions and the pocket world."""
