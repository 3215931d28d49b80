"""Measuring: what `pilvi bench` does to a cloud over HTTP, and how it tells of it."""
