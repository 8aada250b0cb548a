"""The sections of the page, in modules named like their heading or chapter."""
