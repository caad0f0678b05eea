"""A whole bundle of two small stages, quantised and split for real, with two targets."""

import json
from dataclasses import replace
from functools import cache

import numpy as np

from edge.decide import with_decision
from edge.golden import golden
from edge.licences import patterns
from edge.mcu.generate import generate
from edge.mcu.project import package
from edge.pack import Contents, StageRecord
from edge.quantize import quantize
from edge.stage_graphs import chain
from edge.verify import stage_file
from firnline.contracts.handshake import Clock, Columns, Facts, StageFacts
from firnline.contracts.quantize import Quantize
from firnline.contracts.stages import stage_digest
from firnline.digest import bytes_digest
from firnline.evidence.scores import DecisionRule
from models.float_onnx import Graph, StageGraph, merge
from tests.edge.mcu.samples import bridges

MCU = "mcu-cortex-m4"
COLUMNS = ("v__a", "v__b", "v__c", "v__d")
RULE = DecisionRule("score.chance", ("normal", "leak"), 0.5)
VIEW = {"v@v1": "d" * 64}
METRICS = {
    "test.auc": 0.9,
    "test.far": 1.25,
    "test.mar": 30.0,
    "test.auc.leak": 0.71,
    "later.auc": 0.95,
    "of_someone_else": 1.0,
}
_CLOCK = Clock("device", "device_id", "window_end", 900, 900)
_TRAINING_SET = "e" * 64


def rows(count=300):
    """Windows, some of them far out, some with a missing value."""
    found = np.random.default_rng(3).normal(size=(count, 4)).astype(np.float32)
    found[::7, 1] = np.nan
    found[::3] += np.float32([3, -3, 3, 3])
    return found


def labels(count=300):
    return np.where(np.arange(count) % 3 == 0, "leak", "normal")


def first(seed=0):
    """A residual against a basis; every part that stays in float is in it."""
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 2)))[0]
    graph = Graph("residual")
    filled = graph.impute(graph.input("features", 4), np.zeros(4, np.float32))
    within = graph.clip(filled, -4.0, 4.0)
    weights = (np.eye(4) - basis @ basis.T).astype(np.float32)
    left = graph.layer(within, weights, np.zeros(4, np.float32))
    graph.output("left", left, 4)
    graph.output("size", graph.sum_squares(left), 1)
    return StageGraph("residual", graph.bytes(), COLUMNS, (("left", 4), ("size", 1)))


def second(slope=1.0):
    """Two layers on the residual."""
    graph = Graph("score")
    left = graph.input("residual.left", 4)
    spread = np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32)
    hidden = graph.relu(graph.layer(left, spread, np.zeros(8, np.float32)))
    last = slope * np.concatenate([-np.ones((1, 8)), np.ones((1, 8))])
    bias = np.array([4, -4], np.float32)
    chance = graph.softmax(graph.layer(hidden, last.astype(np.float32), bias))
    graph.output("chance", chance, 2)
    return StageGraph("score", graph.bytes(), COLUMNS, (("chance", 2),))


@cache
def models(seed=0, slope=1.0, how=None):
    """Float and int8 graph of both stages, with the decision."""
    exact = merge([first(seed), second(slope)])
    made = quantize(exact, rows(600), how or Quantize())
    return with_decision(exact, RULE), with_decision(made.model, RULE)


def record(target="cpu-x86_64", verdict="accept", **changes):
    """What an export tells of a target."""
    return {
        "target": target,
        "artifact_sha256": "9" * 64,
        "toolchain": "onnxruntime 1.31.1",
        "runner": "onnxruntime 1.31.1",
        "instructions": None,
        "macs": 80,
        "flash_bytes": 4000,
        "ram_bytes": None,
        "vectors": 300,
        "bytes_differ": 0,
        "timings": {"int8": 1234},
        "notes": [],
        "proof": {
            "verdict": verdict,
            "reasons": [],
            "toolchain": {"onnxruntime": "1.31.1"},
            "decisions": {"agreement": 1.0, "auc_target": 0.89},
        },
        **changes,
    }


def contents(seed=0, slope=1.0, own="MIT"):
    """Everything of a bundle, papers aside."""
    graphs = {part.name: part.model for part in (first(seed), second(slope))}
    exact, int8 = models(seed, slope)
    made = chain(int8, tuple(graphs), "score", rows())
    stages = _stages(graphs)
    mcu = record(MCU, toolchain="zig 0.17.1", runner="unicorn 2.1.4")
    mcu["proof"] = {**mcu["proof"], "toolchain": {"zig": "0.17.1"}}
    return Contents(
        name="small",
        manifest_digest="a" * 64,
        snapshot={"sha256": "b" * 64, "dvc": "c" * 32 + ".dir"},
        features={"v@v1": {"label": "v@v1#dddddd", "digest": "d" * 64, "snapshot": "5" * 64}},
        training_set=_TRAINING_SET,
        stages=stages,
        columns=COLUMNS,
        outputs=["residual.left", "residual.size", "score.chance"],
        decide={"output": RULE.output, "classes": list(RULE.classes), "threshold": RULE.threshold},
        parity={"verdict": "accept", "reason": "they agree", "numbers": {"agreement": 0.99}},
        calibration={"rows": 512, "note": ""},
        facts=_facts(stages),
        targets=[record(), record("cpu-arm64", "not run"), mcu],
        files={
            **{stage_file(name): graph for name, graph in graphs.items()},
            "float.onnx": exact,
            "int8.onnx": int8,
            "features.lock": b"the lock",
            "LICENSE": b"the licence",
            **made.graphs,
            **golden(made, rows(), labels(), RULE),
            **_targets(int8),
        },
        licences=patterns(own),
        run=made.links,
        run_note=made.note,
    )


def with_firmware(whole):
    """The same, its microcontroller's target with real C and a proof that is bound to it."""
    folder = f"targets/{MCU}"
    program = replace(bridges(), name=whole.name)
    made = generate(program, "dsp")
    artifact = next(told for told in whole.targets if told["target"] == MCU)["artifact_sha256"]
    bound = {"artifact": artifact, "identity": made.identity.sha256}
    proof = {"target": MCU, "verdict": "accept", "bound_to": bound}
    project = package(program, made, "1.0.0")
    kept = {name: body for name, body in whole.files.items() if not name.startswith(folder)}
    files = {f"{folder}/{name}": text.encode() for name, text in project.items()}
    proofs = {f"{folder}/proof.json": json.dumps(proof).encode()}
    return replace(whole, files={**kept, **files, **proofs})


def _targets(int8):
    found = {}
    for target in ("cpu-x86_64", "cpu-arm64"):
        found[f"targets/{target}/model.onnx"] = int8
        found[f"targets/{target}/proof.json"] = target.encode()
        found[f"targets/{target}/vectors/score.npy"] = b"many"
    mcu = f"targets/{MCU}"
    return {
        **found,
        f"{mcu}/src/small.c": b"int main",
        f"{mcu}/src/firnline_base.h": b"#pragma once",
        f"{mcu}/proof.json": b"mcu",
        f"{mcu}/vectors/score.npy": b"many",
    }


def _stages(graphs):
    found = []
    for name, graph in graphs.items():
        made_of = {
            "name": name,
            "recipe": f"recipes:{name.title()}",
            "options": {},
            "features": VIEW,
            "upstream": {"residual.left": found[0].digest} if found else {},
            "training_set": _TRAINING_SET,
        }
        onnx = bytes_digest(graph)
        made = stage_digest(**made_of, onnx=onnx)
        found.append(StageRecord(**made_of, digest=made, onnx_sha256=onnx))
    return found


def _facts(stages):
    left = Columns("float32", 4)
    one, two = stages
    return Facts(
        "small",
        ("residual", "score"),
        (
            StageFacts(
                "residual",
                VIEW,
                _CLOCK,
                outputs={"left": left, "size": Columns("float32", 1)},
                digest=one.digest,
            ),
            StageFacts(
                "score",
                VIEW,
                _CLOCK,
                upstream={"residual.left": left},
                outputs={"chance": Columns("float32", 2)},
                digest=two.digest,
                learned_from={"residual": one.digest},
            ),
        ),
        VIEW,
        ("features",),
    )
