"""Prepared image sets: degraded and low-resolution copies, sub-images, LMDB, shards, aligned pairs."""
