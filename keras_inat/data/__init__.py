"""From a folder or a zip of photographs to batches of pixels."""
