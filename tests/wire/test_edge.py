"""The edge: what clients feel of how connections are served."""

from __future__ import annotations

import http.client
import statistics
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.wire.process import RealCloud


def test_small_answers_on_a_kept_connection_do_not_wait_for_acknowledgements(tmp_path: Path) -> None:
    with RealCloud(tmp_path / "state") as cloud:
        link = http.client.HTTPConnection(urlsplit(cloud.url).netloc, timeout=30)
        took = []
        for _ in range(41):
            began = time.perf_counter()
            link.request("GET", "/identity/v3")
            answer = link.getresponse()
            answer.read()
            took.append(time.perf_counter() - began)
            assert answer.status == 200
        link.close()
    assert statistics.median(took) < 0.035  # a delayed acknowledgement takes 40 ms
