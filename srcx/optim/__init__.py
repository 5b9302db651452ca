"""Optimizers and learning-rate schedules of srcx's own."""
