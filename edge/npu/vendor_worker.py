"""Runs under a vendor's Python, as `edge.npu.worker` does under that of the NPU tools."""

import importlib
import importlib.metadata
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Step = Mapping[str, Any]

_IMAGE = 4
"""Axes of an image with its batch."""


def _qnn(step: Step) -> dict[str, Any]:
    """Compile for a Hexagon HTP, and run the rows in Qualcomm's simulator of it."""
    runtime = importlib.import_module("onnxruntime")
    plugin = importlib.import_module("onnxruntime_qnn")
    runtime.register_execution_provider_library("QNN", plugin.get_library_path())
    devices = [device for device in runtime.get_ep_devices() if device.ep_name == "QNN"]
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for key, value in (
        ("ep.context_enable", "1"),
        ("ep.context_embed_mode", "1"),
        ("ep.context_file_path", step["to"]),
    ):
        options.add_session_config_entry(key, value)
    backend = {"backend_path": plugin.get_qnn_htp_path(), "htp_arch": step["platform"]}
    options.add_provider_for_devices(devices[:1], backend)
    # From bytes: ONNX Runtime would name the context by a hash of the file's path.
    session = runtime.InferenceSession(Path(step["model"]).read_bytes(), options)
    outputs = [item.name for item in session.get_outputs()]
    inputs = [item.name for item in session.get_inputs()]
    rows = _rows(step)
    made = [
        session.run(
            outputs, {name: row[place : place + 1] for name, row in zip(inputs, rows, strict=True)}
        )
        for place in range(len(rows[0]))
    ]
    _save(step, made)
    return {"versions": _versions("onnxruntime-qnn", "onnxruntime"), "outputs": outputs}


def _rknn(step: Step) -> dict[str, Any]:
    """Convert a QDQ graph for a Rockchip NPU, and run the rows in Rockchip's simulator of it."""
    tool = importlib.import_module("rknn.api").RKNN(verbose=False)
    try:
        tool.config(target_platform=step["platform"])
        _told(tool.load_onnx(model=step["model"]), "load_onnx")
        _told(tool.build(do_quantization=False), "build")
        _told(tool.export_rknn(step["to"]), "export_rknn")
        _told(tool.init_runtime(), "init_runtime")
        rows = _rows(step)
        # Images come as ONNX has them; by itself the simulator takes them channels last.
        layouts = ["nchw" if row.ndim == _IMAGE else "undefined" for row in rows]
        made = [
            tool.inference([row[place : place + 1] for row in rows], data_format=layouts)
            for place in range(len(rows[0]))
        ]
    finally:
        tool.release()
    _save(step, made)
    return {"versions": _versions("rknn-toolkit2"), "outputs": []}


def _told(code: int, call: str) -> None:
    """Rockchip's calls answer with a number, and say why on the screen."""
    if code != 0:
        raise RuntimeError(f"{call} answers {code}")


def _rows(step: Step) -> list[Any]:
    with np.load(step["inputs"], allow_pickle=False) as held:
        return [held[f"i{place}"] for place in range(len(held.files))]


def _save(step: Step, made: list[list[Any]]) -> None:
    columns = {
        f"o{place}": np.concatenate([np.asarray(row) for row in column])
        for place, column in enumerate(zip(*made, strict=True))
    }
    np.savez(step["outputs"], **columns)  # type: ignore[arg-type]


def _versions(*packages: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}


if __name__ == "__main__":
    common = runpy.run_path(str(Path(__file__).with_name("worker.py")))
    steps = {"qnn": _qnn, "rknn": _rknn}
    sys.exit(common["main"](Path(sys.argv[1]), Path(sys.argv[2]), steps))
