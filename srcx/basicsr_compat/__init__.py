"""All that knows BasicSR: its import, its parts in srcx, and srcx's parts in its registries."""
