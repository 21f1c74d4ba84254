"""The decoder: CLIP image embedding (and text) to a 64x64 picture."""
