"""Logic: pure functions, tried without a cloud."""
