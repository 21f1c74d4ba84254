"""Diffusion mathematics that knows no network."""
