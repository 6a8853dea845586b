"""The model's server: what crosses its door, how it is reached, proven and started, what families there are."""
