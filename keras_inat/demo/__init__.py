"""A drawn data set, so that the whole program runs offline and in minutes."""
