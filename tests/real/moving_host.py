"""The agent's side of one host, as a process of its own: a libvirt driver whose verbs are said over its standard input.

`python -m tests.real.moving_host NAME STATE_DIR URI ADDRESS IMAGE SHARED CA CERT KEY`; image "" is a host that cannot fetch images,
shared "" one that keeps its disks for itself.
"""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path

from pilvi.compute.drivers.libvirt import LibvirtHypervisor
from pilvi.kernel.errors import HostError, PilviError


def main() -> None:
    name, state_dir, uri, address, image, shared, ca, cert, key = sys.argv[1:]

    def fetch(image_id: str, path: Path) -> None:
        if not image:
            raise HostError(f"There is no image {image_id}.")
        shutil.copyfile(image, path)

    driver = LibvirtHypervisor(
        name, Path(state_dir), uri, fetch=fetch, tb_cache_mib=32, address=address, shared_disks=shared, ca_file=ca, cert_file=cert, key_file=key
    )
    out = sys.stdout.buffer
    pickle.dump(("ready", None), out)
    out.flush()
    while True:
        try:
            verb, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            driver.close()
            return
        try:
            answer = "done", getattr(driver, verb)(*arguments)
        except PilviError as error:
            answer = "failed", error
        pickle.dump(answer, out)
        out.flush()


if __name__ == "__main__":
    main()
