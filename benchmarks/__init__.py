"""Measurements that are not tests: each says where it was taken, and with what beside it."""
