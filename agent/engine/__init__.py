"""The model's server: what crosses its door, how it is reached, proven, started, and what is known of model families."""
