"""Workflows: the durable work of block storage."""
