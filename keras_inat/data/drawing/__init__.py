"""Illustrations in code: a pen, scenes to put a subject in, and the subjects. No TensorFlow here."""
