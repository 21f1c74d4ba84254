"""Openly licensed drawings as a captioned set: fetched, named, rendered, captioned and split."""
