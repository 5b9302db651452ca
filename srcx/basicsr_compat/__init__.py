"""The bridge to BasicSR: the only folder that knows it."""
