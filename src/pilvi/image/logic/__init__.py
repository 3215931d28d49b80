"""Pure functions of image: filters, changes, byte ranges."""
