"""Losses, teacher labels and their fusion, one training loop for every system."""
