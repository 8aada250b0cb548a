"""The sections of the page, a module each, named like its heading."""
