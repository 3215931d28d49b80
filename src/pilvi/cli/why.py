"""pilvi why SERVER: for every host, which filter refused it and what it had, or that it was chosen."""

from __future__ import annotations

from pilvi.cli.place import Place, parser


def main(arguments: list[str]) -> int:
    options = parser("why", "Say for every host why the server is, or is not, there.")
    options.add_argument("server", help="name or id")
    options.add_argument("--move", action="store_true", help="say where it could move at this moment, and why not elsewhere; nothing is begun")
    chosen = options.parse_args(arguments)
    told = Place(chosen).ask("/why", server=chosen.server, **({"move": "yes"} if chosen.move else {}))
    print(f"server {told['name']} ({told['id']}), {told['status']}" + (f" on {told['host']}" if told["host"] else ""))
    if not told["hosts"]:
        print("no host has been considered yet")
    for host in told["hosts"]:
        print(f"  {host['host']:<24} {host['verdict']:<28} {host['sentence']}")
    return 0
