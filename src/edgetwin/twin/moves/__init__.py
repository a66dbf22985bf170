"""Twins that move from host to host without losing an update: the directory of places, what a move carries, and its seven steps."""
