"""Explanations of a trained model: filters, feature maps, top activating patches, attribution methods."""
