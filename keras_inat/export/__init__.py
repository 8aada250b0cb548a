"""Exports of a trained model to other runtimes, each compared with Keras before it is kept."""
