"""The API of image, resource by resource."""
