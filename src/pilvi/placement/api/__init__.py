"""The API of placement, resource by resource."""
