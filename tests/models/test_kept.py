"""A stage that is kept computes what it did, and later stages learn from what it published."""

import numpy as np
import pytest

from models.fit import fit_ensemble
from models.kept import KeptGraph, KeptStage
from models.split import split

pytestmark = pytest.mark.usefixtures("recipes")


@pytest.fixture
def chain(manifest, stage):
    return manifest(
        [
            stage("sum", "Sum", "total"),
            stage("score", "Score", "score", upstream=["sum.total"]),
        ]
    )


def kept(made, frame, present=None):
    part = made.stages[0]
    return {
        "sum": KeptStage(
            KeptGraph(part.fitted.to_onnx()),
            {"sum.total": made.out_of_fold["sum.total"]},
            np.ones(len(frame), bool) if present is None else present,
        )
    }


def test_a_kept_stage_keeps_its_bytes_and_teaches_the_same(frame, manifest, chain):
    parts = split(frame, chain.split)
    made = fit_ensemble(chain, frame, parts)
    again = fit_ensemble(chain, frame, parts, kept(made, frame))
    assert [part.fitted.to_onnx() for part in again.stages] == [
        part.fitted.to_onnx() for part in made.stages
    ]
    learned = again.stages[1].fitted.upstream_when_fitted["sum.total"]
    assert (learned == made.stages[1].fitted.upstream_when_fitted["sum.total"]).all()
    assert np.array_equal(
        again.out_of_fold["sum.total"], made.out_of_fold["sum.total"], equal_nan=True
    )


def test_rows_it_never_saw_are_computed_and_fitted_ones_are_not(frame, manifest, chain):
    parts = split(frame, chain.split)
    made = fit_ensemble(chain, frame, parts)
    published = made.out_of_fold["sum.total"]
    known = ~np.isnan(published).any(axis=1)
    # Rows without a published value stay unknown, unless they were not published at all.
    stays = kept(made, frame)["sum"].outputs("sum", frame)["sum.total"]
    assert np.array_equal(np.isnan(stays).any(axis=1), ~known)
    fresh = kept(made, frame, present=known)["sum"].outputs("sum", frame)["sum.total"]
    assert not np.isnan(fresh).any()
    assert np.array_equal(fresh[known], published[known])


def test_the_threshold_of_a_kept_deciding_stage_is_kept(frame, manifest, chain):
    parts = split(frame, chain.split)
    made = fit_ensemble(chain, frame, parts)
    score = KeptStage(
        KeptGraph(made.stages[1].fitted.to_onnx(), made.rule.threshold),
        {},
        np.zeros(len(frame), bool),
    )
    again = fit_ensemble(chain, frame, parts, {"score": score})
    assert again.rule == made.rule
    assert np.array_equal(again.predict(frame)["score.score"], made.predict(frame)["score.score"])
