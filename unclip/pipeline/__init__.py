"""The assembled system: text to picture, variations, model folders."""
