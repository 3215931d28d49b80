"""Pure functions of block storage."""
