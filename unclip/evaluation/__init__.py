"""The measure: metrics, the suite of fixed cases, the judge, and the report."""
