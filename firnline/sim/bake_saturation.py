"""Bakes the committed saturation table from CoolProp: ``python -m firnline.sim.bake_saturation``.

CoolProp is a development dependency and this is the only module that imports it; everything
else reads the table through `firnline.sim.saturation`.
"""

from collections.abc import Iterator

from firnline.sim.saturation import REFRIGERANTS, TABLE_PATH

LOWEST_C, HIGHEST_C = -70, 70
HEADER = "refrigerant,temperature_c,pressure_dew_kpa,pressure_bubble_kpa"


def bake() -> str:
    """Returns the table as CSV text, one line per refrigerant and whole degree.

    Source: CoolProp's Helmholtz-energy equations of state (Bell et al. 2014,
    doi:10.1021/ie4033999); R404A and R407C are its pseudo-pure blends.
    """
    return "\n".join([HEADER, *_lines()]) + "\n"


def _lines() -> Iterator[str]:
    from CoolProp.CoolProp import PropsSI

    for refrigerant in REFRIGERANTS:
        for celsius in range(LOWEST_C, HIGHEST_C + 1):
            dew, bubble = (
                PropsSI("P", "T", celsius + 273.15, "Q", quality, refrigerant) / 1000.0
                for quality in (1, 0)
            )
            yield f"{refrigerant},{celsius},{dew:.4f},{bubble:.4f}"


if __name__ == "__main__":
    TABLE_PATH.write_text(bake(), encoding="utf-8")
