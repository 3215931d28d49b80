"""pilvi openrc: what a shell needs to use the openstack client."""

from __future__ import annotations

from pilvi.cli.place import Place, parser
from pilvi.kernel.errors import NotFound


def main(arguments: list[str]) -> int:
    options = parser("openrc", 'Print what a shell needs: eval "$(pilvi openrc)".')
    place = Place(options.parse_args(arguments))
    file = place.state / "openrc"
    if not file.exists():
        raise NotFound(f"{file} is not there yet; `pilvi up` writes it.")
    print(file.read_text(encoding="utf-8"), end="")
    return 0
