"""The upsamplers: 64 to 256 to 1024 pixels."""
