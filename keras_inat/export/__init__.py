"""Exports of a model to other runtimes, with their contract, and an app that shows one."""
