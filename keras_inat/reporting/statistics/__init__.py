"""The statistics of the report: estimates with their 95 % intervals and sample sizes."""
