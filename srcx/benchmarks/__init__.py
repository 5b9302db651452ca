"""Image sets: what is known of them, fetched, checked and prepared."""
