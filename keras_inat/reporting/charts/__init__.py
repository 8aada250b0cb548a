"""The charts of the report. Each function takes numbers and returns a `Figure`; nothing is read or written."""
