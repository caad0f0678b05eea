import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from firnline.errors import HandshakeError
from models.fit import fit_ensemble, load_frame
from models.float_onnx import merge, run
from models.split import split

pytestmark = pytest.mark.usefixtures("recipes")


def fitted(manifest, frame):
    return fit_ensemble(manifest, frame, split(frame, manifest.split))


def test_later_stages_never_see_what_a_stage_says_of_rows_it_was_fitted_on(frame, manifest, stage):
    made = fitted(
        manifest(
            [
                stage("memory", "Memory", "seen"),
                stage("score", "Score", "score", upstream=["memory.seen"]),
            ]
        ),
        frame,
    )
    trained_on = made.stages[1].fitted.upstream_when_fitted["memory.seen"]
    assert len(trained_on) == split(frame, made.manifest.split).train.sum()
    assert not trained_on.any()
    # The released stage does know its training rows: fitted on all of them.
    train = split(frame, made.manifest.split).train
    assert made.predict(frame)["memory.seen"][train].all()


def test_folds_by_time_train_later_stages_on_the_last_block_alone(frame, manifest, stage):
    made = fitted(
        manifest(
            [
                stage("memory", "Memory", "seen"),
                stage("score", "Score", "score", upstream=["memory.seen"]),
            ],
            split={"kind": "first-rows", "first_rows": 8, "fold_by": "time", "folds": 4},
        ),
        frame,
    )
    upstream = made.stages[1].fitted.upstream_when_fitted
    assert not upstream["memory.seen"].any()
    assert set(upstream["times"] // 1_000_000) == {6, 7}


def test_three_stages_in_a_chain_stay_out_of_fold(frame, manifest, stage):
    made = fitted(
        manifest(
            [
                stage("one", "Memory", "seen"),
                stage("two", "Memory", "seen", upstream=["one.seen"]),
                stage("score", "Score", "score", upstream=["one.seen", "two.seen"]),
            ]
        ),
        frame,
    )
    upstream = made.stages[2].fitted.upstream_when_fitted
    assert not upstream["one.seen"].any()
    assert not upstream["two.seen"].any()


def test_the_merged_graph_says_what_predict_says(frame, manifest, stage):
    made = fitted(manifest([stage("sum", "Sum", "total"), stage("score", "Score", "score")]), frame)
    graph = run(merge(made.graphs()), {"features": frame.features})
    for name, values in made.predict(frame).items():
        assert np.abs(graph[name] - values).max() < 1e-5
    assert made.columns() == frame.names
    assert made.rule.threshold == 0.5


@pytest.mark.parametrize(
    ("recipe", "options"),
    [("Nothing", {}), ("NoFit", {}), ("Sum", {"colour": "red"})],
)
def test_a_recipe_that_cannot_be_had_is_named(frame, manifest, stage, recipe, options):
    with pytest.raises(HandshakeError, match=rf"M6.*{recipe}.*'first'"):
        fitted(manifest([stage("first", recipe, "score", options=options)]), frame)


def test_a_module_that_is_not_there_is_named(frame, manifest, stage):
    bad = stage("first", "Sum", "score") | {"recipe": "no.such.module:Sum"}
    with pytest.raises(HandshakeError, match=r"M6.*no\.such"):
        fitted(manifest([bad]), frame)


@pytest.mark.parametrize(
    ("fault", "code", "found"),
    [
        ("name", "M7", "score: missing"),
        ("shape", "M7", "shape"),
        ("dtype", "M7", "float64"),
        ("range", "M7", r"leaves the range \[0, 1\]"),
        ("finite", "M7", "rows are not finite"),
        ("fails", "M11", "two rows at least"),
        ("threshold", "M10", "has no threshold"),
    ],
)
def test_a_careless_recipe_is_told_what_is_wrong(frame, manifest, stage, fault, code, found):
    first = stage("first", "Careless", "score", options={"fault": fault})
    first["outputs"] = [{"name": "score", "range": [0, 1]}]
    last = stage("last", "Score", "score", upstream=["first.score"])
    stages = [first] if code == "M10" else [first, last]
    with pytest.raises(HandshakeError, match=rf"{code}\].*first") as caught:
        fitted(manifest(stages), frame)
    assert re.search(found, caught.value.found)


def training_set(path, frame, names):
    columns = {
        "thing_id": pa.array(frame.entities.tolist()),
        "event_timestamp": pa.array(frame.times, pa.timestamp("us", tz="UTC")),
        **{
            name: pa.array(frame.features[:, place], mask=np.isnan(frame.features[:, place]))
            for place, name in enumerate(names)
        },
        "label": pa.array(frame.labels.tolist()),
    }
    pq.write_table(pa.table(columns), path)


def test_loads_a_training_set_in_the_order_of_the_references(tmp_path, frame):
    frame.features[3, 1] = np.nan
    path = tmp_path / "training_set.parquet"
    training_set(path, frame, ("view__a", "other__b"))
    made = load_frame(path, "thing_id", ["other@v1", "view@v2"])
    assert made.names == ("other__b", "view__a")
    assert np.array_equal(made.features, frame.features[:, ::-1], equal_nan=True)
    for part in ("labels", "entities", "times"):
        assert np.array_equal(getattr(made, part), getattr(frame, part))
    with pytest.raises(HandshakeError, match=r"M13.*third@v1"):
        load_frame(path, "thing_id", ["third@v1"])
