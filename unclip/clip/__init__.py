"""CLIP: text and image towers, tokenizer, and the features they give."""
