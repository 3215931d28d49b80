"""The manifest of image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pilvi.image import policy
from pilvi.image.api import image_data, images, imports, members, metadefs, schemas, versions
from pilvi.image.dialect import DIALECT
from pilvi.image.operations import data
from pilvi.image.tables import Image
from pilvi.image.workflows import ImportImage
from pilvi.kernel.program import Program
from pilvi.kernel.service import Service
from pilvi.kernel.workflows import Periodic


def bring_up(program: Program) -> Callable[[], None]:
    """The API's start: what died with the program before is given back, and what nobody owns is swept."""
    data.heal(program)
    data.sweep(program)
    return lambda: None


def check_data(program: Program) -> Iterator[tuple[str, str, str, Any]]:
    """Find images that say they have data which is not in the store."""
    with program.db.transaction(write=False) as tx:
        active = tx.all(Image, Image.c.status.in_(["active", "deactivated"]))
    store = data.store(program)
    for image in active:
        size = store.size(image.id)
        if size != image.size:
            found = "none is in the store" if size is None else f"{size} bytes are in the store"
            yield "image data", image.id, f"Image {image.id} should have {image.size} bytes of data, but {found}.", None


SERVICE = Service(
    name="image",
    type="image",
    title="glance",
    path="/image",
    port=9292,
    catalog="",
    dialect=DIALECT,
    resources=[
        versions.versions,
        images.resource,
        image_data.resource,
        members.resource,
        imports.importing,
        imports.info,
        imports.tasks,
        imports.stores,
        schemas.schemas,
        metadefs.namespaces,
        metadefs.types,
    ],
    rules=[*policy.BASE, *policy.OTHERS],
    workflows=[ImportImage],
    periodic=[Periodic("image: give back what dead writers held", 60.0, data.heal), Periodic("image: sweep data of no image", 3600.0, data.sweep)],
    roles={"api": bring_up},
    checks=[check_data],
)
