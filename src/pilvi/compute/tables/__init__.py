"""Tables: what compute remembers."""
