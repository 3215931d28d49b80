"""What can be said of addresses, agents and rules without looking anywhere."""
