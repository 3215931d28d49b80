"""pilvi check: find what is orphaned or drifted between database, hypervisor, network and disks; --repair mends it."""

from __future__ import annotations

from pilvi.cli.place import Place, parser


def main(arguments: list[str]) -> int:
    """Exit code 0 when nothing is wrong (or all of it was mended), 1 otherwise."""
    options = parser("check", "Find what is orphaned or drifted between database, hypervisor, network and disks.")
    options.add_argument("--repair", action="store_true", help="mend what is found")
    chosen = options.parse_args(arguments)
    told = Place(chosen).ask("/check", timeout=300, repair="1" if chosen.repair else "")
    for finding in told["findings"]:
        print(f"  {finding['kind']:<24} {finding['subject']:<38} {finding['sentence']}" + ("  [mended]" if finding["mended"] else ""))
    left = [finding for finding in told["findings"] if not finding["mended"]]
    print(f"{told['checked']} things checked, {len(told['findings'])} found, {len(told['findings']) - len(left)} mended")
    return 1 if left else 0
