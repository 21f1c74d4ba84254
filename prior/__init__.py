"""The prior: text to CLIP image embedding."""
