"""pilvi trace SERVER: what happened to a server, step by step, with durations."""

from __future__ import annotations

from pilvi.cli.place import Place, parser


def main(arguments: list[str]) -> int:
    options = parser("trace", "Show the steps of a server's creation (and of later requests), measured.")
    options.add_argument("server", help="name or id")
    chosen = options.parse_args(arguments)
    told = Place(chosen).ask("/trace", server=chosen.server)
    print(f"server {told['name']} ({told['id']}), {told['status']}" + (f" on {told['host']}" if told["host"] else ""))
    for request in told["requests"]:
        print(f"\nrequest {request['request_id']}")
        for span in request["spans"]:
            mark = " " if span["outcome"] == "ok" else "!"
            where = f"  [{span['host']}]" if span["host"] else ""
            print(f"{mark} {span['number']:>6}  {span['seconds'] * 1000:10.1f} ms  {span['name']}{where}")
            if span["why"]:
                print(f"{'':22}{span['why']}")
    if told["fault"]:
        print(f"\nfault: {told['fault']}")
    return 0
