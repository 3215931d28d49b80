"""Workflows: the durable work of compute."""
