"""Contracts that every driver of a kind must keep, and the drivers that keep them."""
