"""From a folder or an archive of photographs to batches of pixels."""
