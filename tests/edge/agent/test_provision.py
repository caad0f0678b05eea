from pathlib import Path

import pytest

from edge.agent.config import parse
from edge.agent.provision import Place, provision, render
from edge.disk import RealDisk
from firnline.errors import DeliveryError

STATE = Path('/var/lib/\U0001f9ca "quoted" \\ \x7f \u00e9')


def place(state: Path) -> Place:
    return Place("https://host/channel", "small", "stable", "cpu-x86_64", "unit-1", state)


def test_a_configuration_is_read_as_it_was_meant(tmp_path: Path) -> None:
    assert parse(render(place(STATE)), tmp_path / "agent.toml").state == STATE


def test_a_path_that_no_configuration_can_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "etc/agent.toml"
    with pytest.raises(DeliveryError, match=r"U30.*no UTF-8"):
        provision(place(Path("/var/\udcff")), b"{}", path, RealDisk())
    assert not path.parent.exists()
