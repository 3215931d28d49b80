"""A role that gives no sign of life is not well, and says so."""

from __future__ import annotations

import pytest

from pilvi.control import PATHS
from pilvi.kernel.errors import Unavailable
from pilvi.kernel.health import Sign
from pilvi.kernel.testing.cloud import Cloud


def test_a_sign_holds_for_a_while() -> None:
    sign = Sign("network on node1", within=60)
    sign.give("3 ports")
    assert sign.ask() == "3 ports"
    late = Sign("network on node1", within=-1)
    with pytest.raises(Unavailable, match="network on node1 has not reported"):
        late.ask()


def test_status_tells_which_role_is_not_well(cloud: Cloud) -> None:
    cloud.program.health["network"] = Sign("network on node1", within=-1).ask
    roles = {role["role"]: role for role in PATHS["/status"](cloud.program, {})["roles"]}
    assert not roles["network"]["healthy"]
    assert "has not reported" in roles["network"]["detail"]
    assert roles["conductor"]["healthy"]
