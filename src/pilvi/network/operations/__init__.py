"""What can be done with networks: each a part of one commit."""
