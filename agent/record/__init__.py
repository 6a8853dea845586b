"""A run on disk: written as it goes, resumed, forked and replayed from there."""
