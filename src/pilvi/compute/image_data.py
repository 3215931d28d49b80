"""Image data between an agent and the image service: over HTTP with a token of the cloud's own, or a near file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pilvi import image
from pilvi.compute.conductor import TOPIC, Conductor
from pilvi.kernel import agent
from pilvi.kernel.program import Program


def fetcher(program: Program) -> Callable[[str, Path], None]:
    """A function that writes an image's bytes to a path: copied when the store is in this very process, else downloaded."""
    conductor = agent.remote(program.bus, Conductor, TOPIC, timeout=15, patience=60)

    def fetch(image_id: str, path: Path) -> None:
        near = image.path(program, image_id) if "api" in program.roles else None
        if near and os.path.exists(near):
            shutil.copyfile(near, path)
            return
        source = conductor.image_source()
        image.download_file(source.url, source.token, image_id, path)

    return fetch


def upload(conductor: Conductor, image_id: str, path: str) -> None:
    """Make the file the image's data; an image that has data already is left alone.  Raises HostError."""
    if conductor.image_is_active(image_id):
        return
    source = conductor.image_source()
    image.upload_file(source.url, source.token, image_id, path)
