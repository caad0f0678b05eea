import numpy as np
import pytest

from firnline.sim import saturation
from firnline.sim.bake_saturation import bake


def test_committed_table_is_what_coolprop_bakes():
    fresh = [line.split(",") for line in bake().splitlines()]
    committed = [line.split(",") for line in saturation.TABLE_PATH.read_text().splitlines()]
    assert [row[:2] for row in fresh] == [row[:2] for row in committed]
    np.testing.assert_allclose(
        np.array([row[2:] for row in fresh[1:]], dtype=float),
        np.array([row[2:] for row in committed[1:]], dtype=float),
        rtol=1e-5,
    )


@pytest.mark.parametrize(("refrigerant", "celsius"), [("R404A", -30.3), ("R290", -25.5)])
def test_published_saturation_temperatures_at_200_kpa(refrigerant, celsius):
    assert saturation.dew_temperature(refrigerant, 200.0) == pytest.approx(celsius, abs=0.1)


@pytest.mark.parametrize("refrigerant", saturation.REFRIGERANTS)
def test_interpolation_agrees_with_coolprop_between_the_grid_points(refrigerant):
    from CoolProp.CoolProp import PropsSI

    for kpa in (60.0, 137.0, 411.0, 1033.0, 1777.0):
        for quality, line in ((1, saturation.dew_temperature), (0, saturation.bubble_temperature)):
            expected = PropsSI("T", "P", kpa * 1000, "Q", quality, refrigerant) - 273.15
            assert line(refrigerant, kpa) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("refrigerant", saturation.REFRIGERANTS)
def test_pressure_and_temperature_invert_each_other(refrigerant):
    celsius = np.linspace(-60, 65, 251)
    kpa = saturation.dew_pressure(refrigerant, celsius)
    assert (np.diff(kpa) > 0).all()
    np.testing.assert_allclose(saturation.dew_temperature(refrigerant, kpa), celsius, atol=1e-3)


def test_only_blends_glide_and_dew_lies_above_bubble():
    glide = {
        name: float(
            saturation.dew_temperature(name, 400.0) - saturation.bubble_temperature(name, 400.0)
        )
        for name in saturation.REFRIGERANTS
    }
    assert abs(glide["R290"]) < 1e-6
    assert abs(glide["R134a"]) < 1e-6
    assert 0.3 < glide["R404A"] < 1.0
    assert 5.0 < glide["R407C"] < 8.0


def test_dense_tables_are_the_lines():
    table = saturation.dense()
    for number, name in enumerate(saturation.REFRIGERANTS):
        at = number * table.by_pressure_size + 345
        assert table.dew_c[at] == pytest.approx(saturation.dew_temperature(name, 345), abs=1e-4)
        assert table.bubble_c[at] == pytest.approx(
            saturation.bubble_temperature(name, 345), abs=1e-4
        )
        step = round((-20 - saturation.DENSE_LOWEST_C) * saturation.DENSE_STEPS_PER_K)
        at = number * table.by_temperature_size + step
        assert table.dew_kpa[at] == pytest.approx(saturation.dew_pressure(name, -20.0), rel=1e-5)
