"""What block storage remembers."""
