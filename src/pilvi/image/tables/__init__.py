"""Tables of image: images with what is searched in them, who they are shared with, the tasks made for them, metadata definitions."""

from pilvi.image.tables.images import Image, Member, Property, Tag, Task
from pilvi.image.tables.metadefs import Association, Definition, Namespace

__all__ = ["Association", "Definition", "Image", "Member", "Namespace", "Property", "Tag", "Task"]
