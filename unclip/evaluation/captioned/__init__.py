"""How a model does on captioned pictures of the user's own: `unclip eval MODEL --data DIR`."""
