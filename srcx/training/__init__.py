"""One training step each: what happens between a batch and the updated weights."""
