"""The tour of docs/tour.md, command by command, by the stock client against a real process."""

from __future__ import annotations

import difflib
from collections import Counter
from pathlib import Path

from tests.wire import tour

# how many commands the tour must have of each service at least
LEAST = {"identity": 12, "image": 8, "placement": 8, "network": 18, "block storage": 14, "compute": 24}
SERVICES = {
    "identity": "token catalog endpoint domain project user role implied",
    "image": "image",
    "placement": "allocation resource trait",
    "network": "network subnet router security port floating",
    "block storage": "volume",
    "compute": "server flavor keypair hypervisor compute console quota",
}


def test_the_tour_visits_every_service() -> None:
    of = {word: service for service, words in SERVICES.items() for word in words.split()}
    commands = [step.command.partition("openstack ")[2] for step in tour.steps(tour.TOUR.read_text(encoding="utf-8"))]
    visits = Counter(of[command.split()[0]] for command in commands if command)
    too_few = {service: visits[service] for service, least in LEAST.items() if visits[service] < least}
    assert not too_few, f"too few commands: {too_few}"


def test_the_text_between_the_commands_stays() -> None:
    text = tour.TOUR.read_text(encoding="utf-8")
    assert tour.rewritten(text, lambda step: step.output) == text
    assert "<new>\n```" in tour.rewritten(text, lambda step: "<new>\n")


def test_every_command_says_what_the_tour_says(tmp_path: Path) -> None:
    differences: list[str] = []
    for step, now in tour.lead(tmp_path, tour.TOUR.read_text(encoding="utf-8")):
        if now != step.output:
            lines = difflib.unified_diff(step.output.splitlines(), now.splitlines(), "docs/tour.md", "now", lineterm="", n=1)
            differences.append(f"$ {step.prompt}\n" + "\n".join(lines))
    assert not differences, "what the tour shows has changed; if that is meant, say `scripts/tour`:\n\n" + "\n\n".join(differences)
