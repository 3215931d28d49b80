"""pilvi install: install the system packages that are missing."""

from __future__ import annotations

import argparse

from pilvi import packages


def main(arguments: list[str]) -> int:
    options = argparse.ArgumentParser(prog="pilvi install", description="Install the system packages that are missing.")
    options.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(packages.GROUPS)} (default: those that a cloud needs)")
    chosen = options.parse_args(arguments).groups or ["compute", "network", "storage", "guest"]
    strangers = [group for group in chosen if group not in packages.GROUPS]
    if strangers:
        options.error(f"there is no group {', '.join(strangers)}")
    missing = packages.missing(chosen)
    if not missing:
        print("nothing is missing")
        return 0
    packages.install(missing, progress=print)
    return 0
