"""One way to open an int8 graph, for who exports it and for the device that runs it."""

import platform
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime


def integer_session(model: bytes) -> Any:
    """A session on one thread, which never saturates.

    x86 without VNNI adds two products in 16 bits, silently cutting what does not fit. There, a
    graph with weights of eight bits is computed in float between its quantisations instead: a
    last digit may round differently, but nothing is cut.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # Without it a graph whose int8 value has two readers runs half in float.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    if not exact_in_eight_bits():
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def exact_in_eight_bits() -> bool:
    """Whether this machine multiplies int8 exactly: any Arm, and x86 with VNNI."""
    if platform.machine() not in {"x86_64", "AMD64"}:
        return True
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    return "avx512_vnni" in flags or "avx_vnni" in flags
