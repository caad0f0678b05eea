"""SKAB's features against pandas, and the rig's code against plain Python."""

from datetime import UTC, datetime, timedelta

import ibis
import numpy as np
import pandas as pd
import pytest

from feature_repo.skab.transforms import CODE_PRIME, SENSORS, VIEWS, code

START = datetime(2026, 3, 1, 10, tzinfo=UTC)


def expected_code(key: str) -> int:
    weights = [(place + 1) * 31 ** (place % 6) for place in range(32)]
    return (
        sum(ord(letter) * weight for letter, weight in zip(key, weights, strict=False)) % CODE_PRIME
    )


@pytest.mark.parametrize("key", ["valve1/0", "valve1/10", "other/14", "x", "a" * 40])
def test_a_rig_has_the_code_that_its_letters_give(key: str) -> None:
    table = ibis.memtable({"rig_id": [key]})

    found = ibis.duckdb.connect().execute(table.select(code=code(table.rig_id)))

    assert found["code"][0] == expected_code(key)


def test_the_published_rigs_have_codes_of_their_own() -> None:
    rigs = [f"valve1/{n}" for n in range(16)] + [f"valve2/{n}" for n in range(4)]
    rigs += [f"other/{n}" for n in range(1, 15)]

    assert len({expected_code(rig) for rig in rigs}) == 34


def test_windows_trail_each_reading_by_thirty_seconds() -> None:
    random = np.random.default_rng(3)
    seconds = np.cumsum(random.choice([1, 1, 1, 2, 40], size=120))
    readings = pd.DataFrame(
        {
            "rig_id": np.repeat(["a", "b"], 60),
            "timestamp_utc": [START + timedelta(seconds=int(s)) for s in seconds],
            **{sensor: random.normal(size=120) for sensor in SENSORS},
        }
    )
    view = VIEWS[0]

    found = (
        ibis.duckdb.connect()
        .execute(view.transform(ibis.memtable(readings), view))
        .sort_values(["rig_id", "window_end"])
        .reset_index(drop=True)
    )

    for rig, rows in readings.set_index("timestamp_utc").groupby("rig_id"):
        trailing = rows[list(SENSORS)].rolling("30s")
        of_rig = found[found["rig_id"] == rig]
        for sensor in SENSORS:
            np.testing.assert_allclose(of_rig[f"{sensor}_mean"], trailing[sensor].mean())
            np.testing.assert_allclose(
                of_rig[f"{sensor}_std"], trailing[sensor].std(), rtol=1e-9, atol=1e-9
            )
