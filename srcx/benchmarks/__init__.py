"""Known image sets: manifests, layouts on disk, download and verification."""
