"""What a client may ask for: one typed function each. Knows no socket."""
