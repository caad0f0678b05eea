"""How int8 is made, and how far it may lie from float: two tables of the ensemble manifest."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Quantize(_Part):
    """How the int8 graph is made.

    Attributes:
        ranges: Where activation ranges come from. `observed`: least and greatest value of the
            calibration rows. `clip`: the bounds of the Clip before or after a layer where there
            is one, for inputs that leave the training range, else observed. `percentile`: the
            observed values' inner share. `entropy`: the range whose int8 histogram tells most of
            the observed one.
        percentile: The share of values within the range, in percent, for `percentile`.
        per_channel: One weight scale for every output channel, not one for the whole layer.
        reduce_range: Weights of seven bits: for x86 without VNNI, whose 16-bit sums of two
            products saturate silently with all eight.
        rounding: How weights are rounded. `nearest`: each by itself. `compensated`: each
            rounding's error is made up for by the weights that are still to come, weighed by
            what the calibration rows show of the inputs.
        float_layers: Names of layers that stay in float.
        float_outputs: Keep the layers' outputs in float, for outputs that are squared and summed.
        mixed: Put layers back to float, the most harmful first, until the parity gate holds.
        calibration_rows: Rows of the calibration set.
    """

    ranges: Literal["observed", "clip", "percentile", "entropy"] = "observed"
    percentile: float = Field(default=99.99, gt=50, le=100)
    per_channel: bool = True
    reduce_range: bool = False
    rounding: Literal["nearest", "compensated"] = "compensated"
    float_layers: tuple[str, ...] = ()
    float_outputs: bool = False
    mixed: bool = False
    calibration_rows: int = Field(default=1024, ge=1)


class Parity(_Part):
    """The export gate: how far int8 may lie from float.

    Attributes:
        min_agreement: Least share of equal decisions.
        max_auc_drop: Most AUC that may be lost.
        max_mean_score_difference: Most mean absolute score difference.
    """

    min_agreement: float = Field(default=0.99, ge=0, le=1)
    max_auc_drop: float = Field(default=0.01, ge=0, le=1)
    max_mean_score_difference: float = Field(default=0.02, ge=0, le=1)
