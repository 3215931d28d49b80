"""What identity does, free of HTTP."""
