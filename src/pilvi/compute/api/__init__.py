"""The HTTP side of compute: paths, shapes and rights."""
