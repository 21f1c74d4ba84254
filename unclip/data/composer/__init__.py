"""Endless captioned scenes, composed of the set's drawings on the device that trains."""
