"""Operations of placement: what can be done to providers, their inventories, and allocations."""
