"""How block storage is said in HTTP."""
