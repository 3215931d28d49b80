"""Explain: a scheduler's decision in sentences that a person can act on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pilvi.compute.tables.explanations import Verdict

_SHOWN = 5  # hosts named one by one


def summary(verdicts: list[Verdict]) -> str:
    """Why there is no host: few hosts one by one, many by filter with an example."""
    if not verdicts:
        return "No valid host was found. There are no compute hosts yet."
    refused = [verdict for verdict in verdicts if verdict.filter]
    if len(refused) <= _SHOWN:
        listed = "; ".join(f"{verdict.host}: {verdict.sentence} ({verdict.filter})" for verdict in refused)
        return f"No valid host was found. {listed}."
    counts = Counter(verdict.filter for verdict in refused)
    parts = []
    for name, count in counts.most_common():
        example = next(verdict for verdict in refused if verdict.filter == name)
        parts.append(f"{name} refused {count} of {len(refused)} hosts, as {example.host}: {example.sentence}")
    return f"No valid host was found. {'; '.join(parts)}."


def packed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The same, each sentence said once: of a thousand hosts most are refused in the same words."""
    found: list[Verdict] = []
    known: dict[tuple[str, str], list[str]] = {}
    for verdict in verdicts:
        key = verdict.filter, verdict.sentence
        if not verdict.filter or verdict.weight is not None:
            found.append(verdict)
        elif key in known:
            known[key].append(verdict.host)
        else:
            also = known[key] = []
            found.append(Verdict(host=verdict.host, filter=verdict.filter, sentence=verdict.sentence, also=also))
    return found


def table(verdicts: Sequence[Verdict]) -> list[tuple[str, str, str]]:
    """(host, filter, sentence) for every host; the filter is "" where the host would have done."""
    return [
        (host, verdict.filter, verdict.sentence or (f"fits, weight {verdict.weight:.3f}" if verdict.weight is not None else "fits"))
        for verdict in verdicts
        for host in (verdict.host, *verdict.also)
    ]
