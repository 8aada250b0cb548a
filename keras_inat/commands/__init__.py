"""One module a command, each with `run(config)`: what a target of the Makefile does."""
