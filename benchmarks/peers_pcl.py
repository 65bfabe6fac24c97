"""PCL's integral-image normals as a peer, where its headers are: `apt install libpcl-dev`, or a root in PCL_ROOT.

The few lines of C++ beside this file are compiled into a temporary folder with the flags that Debian compiles PCL with.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.peers import Array, NormalsOf
from fastseg.frames import Camera

METHODS = ("covariance", "gradient", "depth_change", "simple_gradient")  # in PCL's own order
LIBRARIES = ("pcl_common", "pcl_features", "pcl_search", "pcl_kdtree", "pcl_octree", "flann_cpp", "lz4")


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """The compiled peer; ImportError with the reason where PCL is not installed or does not compile."""
    root = Path(os.environ.get("PCL_ROOT", "/")) / "usr"
    headers = sorted((root / "include").glob("pcl-*"))
    if not headers:
        raise ImportError("PCL's headers are not installed (libpcl-dev)")
    include = [f"-I{path}" for path in (headers[-1], root / "include" / "eigen3", root / "include")]
    libraries = next(root.glob("lib/*/libpcl_common.so"), root / "lib" / "none").parent
    linked = [f"-L{libraries}", f"-Wl,-rpath,{libraries}", *(f"-l{name}" for name in LIBRARIES)]
    source = str(Path(__file__).with_suffix(".cpp"))
    with tempfile.TemporaryDirectory() as folder:
        made = str(Path(folder) / "peers_pcl.so")
        command = ["g++", "-O3", "-std=c++17", "-w", "-shared", "-fPIC", *include, source, "-o", made, *linked]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ImportError(f"the PCL peer does not compile: {done.stderr.strip().splitlines()[0][-160:]}")
        return ctypes.CDLL(made)


def pcl_normals(camera: Camera, method: str = "covariance", window: int = 7) -> NormalsOf:
    """PCL's IntegralImageNormalEstimation of one of METHODS, smoothing over `window` pixels; one thread."""
    library, code = _library(), METHODS.index(method)
    floats = [ctypes.c_float(value) for value in (camera.fx, camera.fy, camera.cx, camera.cy)]

    def call(depth: Array) -> Array:
        held = np.ascontiguousarray(depth, np.float32)
        out = np.empty((*depth.shape, 3), np.float32)
        library.pcl_normals(
            held.ctypes.data_as(ctypes.c_void_p), *depth.shape, *floats, code, ctypes.c_float(window),
            out.ctypes.data_as(ctypes.c_void_p),
        )  # fmt: skip
        return out

    return call
