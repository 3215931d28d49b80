"""Real clients, unmodified, against a real process on a real port."""
