"""One page with the evidence, rendered from `runs/` alone."""
