"""Guest images that Pilvi builds itself from the packages of the machine's own Debian or Ubuntu archive.

`tiny_image` makes in some seconds a guest of about 20 MB that offers what OpenStack's own tests ask of a guest;
`debian_image` makes in some minutes a full Debian with cloud-init.  Both answer the path of a qcow2 file in the
cache folder; the file is replaced when the recipe or the packages change, so whoever needs it for long copies it.
"""

from __future__ import annotations

from pilvi.guest.debian import debian_image
from pilvi.guest.tiny import tiny_image

__all__ = ["debian_image", "tiny_image"]
