"""The only file that knows numpy, torch and cupy apart: check an array, allocate another like it, hand it to C++."""

from __future__ import annotations

import functools
import importlib
import math
import sys
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # numpy.ndarray, torch.Tensor or cupy.ndarray; no common type exists
Described: TypeAlias = tuple[Any, str, bool, tuple[int, ...]]

CPU_MODULE = "fastseg._cpu"
CUDA_MODULE = "fastseg._cuda"
KEPT_BYTES = 64 << 20
KEPT_SMALL = 256
NUMPY_NAMES = {np.dtype(n).str: n for n in ("uint8", "uint16", "int32", "int64", "float16", "float32", "float64")}
_thread = threading.local()
_kept_small: dict[tuple[Any, ...], Array] = {}


def library(name: str, array: Array) -> str:
    """`"numpy"`, `"torch"` or `"cupy"`, whichever `array` (the argument called `name`) belongs to; else TypeError.

    Subclasses count as their library's (memmap, Parameter), but not numpy's masked arrays: kernels read no mask.
    """
    if type(array) is np.ndarray:
        return "numpy"  # at once: a small op spends more time here than in its kernel
    for kind in type(array).__mro__:
        root = kind.__module__.partition(".")[0]
        if (root, kind.__name__) == ("numpy", "MaskedArray"):
            raise TypeError(f"{name} must have no mask; got a masked array: fill it with what means `not measured`")
        if (root, kind.__name__) in {("numpy", "ndarray"), ("torch", "Tensor"), ("cupy", "ndarray")}:
            return root
    exchanged = hasattr(array, "__dlpack__") or hasattr(array, "__cuda_array_interface__")
    hint = "; torch.from_dlpack or cupy.asarray makes one of it without a copy" if exchanged else ""
    raise TypeError(f"{name} must be a numpy, torch or cupy array; got {type(array).__name__}{hint}")


def dtype_name(array: Array) -> str:
    """The element type's name without its library, `"float32"` for numpy's, torch's and cupy's alike."""
    if isinstance(array, np.ndarray):
        return NUMPY_NAMES.get(array.dtype.str) or str(array.dtype)
    return str(array.dtype).removeprefix("torch.")


def on_device(array: Array) -> bool:
    """True when the array lies in CUDA memory; ValueError for a device that is neither CPU nor CUDA."""
    if (kind := library("array", array)) != "torch":
        return kind == "cupy"
    if array.device.type not in ("cpu", "cuda"):
        raise ValueError(f"arrays must lie on the CPU or a CUDA device; got a tensor on {array.device}")
    return bool(array.device.type == "cuda")


def is_contiguous(array: Array) -> bool:
    """True when the elements lie one after another, last index fastest, aligned and in native byte order."""
    if isinstance(array, np.ndarray):
        return bool(array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative)
    if library("array", array) == "torch":
        conjugated = array.dtype.is_complex and array.is_conj()
        return _is_plain(array) and bool(array.is_contiguous()) and not conjugated
    return bool(array.flags.c_contiguous)


def _is_plain(tensor: Array) -> bool:
    """False for tensors whose elements are not simply stored: sparse, mkldnn, nested, quantised."""
    return str(tensor.layout) == "torch.strided" and not tensor.is_nested and not tensor.is_quantized


def check(
    name: str, array: Array, dtypes: str | tuple[str, ...], shape: tuple[str | int, ...],
    sizes: Mapping[str, int] | None = None, like: Array = None,
) -> dict[str, int]:  # fmt: skip
    """The lengths bound to the letters of `shape`, together with `sizes`, once `array` is what the op takes.

    shape   one entry an axis: a number, or a letter for any length; a letter already in `sizes` must have that length;
            a first entry in brackets, `"[N]"`, may be absent from the array and is then bound to 1
    like    the array whose library and device this one must share
    Raises TypeError for no array, a masked, sparse, nested or quantised one, or another dtype; ValueError for another
    shape, layout or place.
    """
    accepted = (dtypes,) if isinstance(dtypes, str) else dtypes
    if type(array) is np.ndarray and (like is None or type(like) is np.ndarray):
        flags = array.flags  # at once: in a program that does other work too, the lines below cost as much as a kernel
        known = _bind_again(array.shape, shape, tuple(sizes.items()) if sizes else ())
        if known and NUMPY_NAMES.get(array.dtype.str) in accepted and flags.c_contiguous and flags.aligned:
            return known.copy()
    if library(name, array) == "torch" and not _is_plain(array):
        form = "nested" if array.is_nested else "quantised" if array.is_quantized else str(array.layout)
        raise TypeError(f"{name} must be a plain dense tensor; got a {form.removeprefix('torch.')} tensor")
    bound = _bind(tuple(array.shape), shape, tuple((sizes or {}).items()))
    wrong_type = dtype_name(array) not in accepted
    if wrong_type or bound is None or not is_contiguous(array):
        raise (TypeError if wrong_type else ValueError)(
            f"{name} must be {' or '.join(accepted)} {_spelled(shape, sizes or {})} contiguous; "
            f"got {dtype_name(array)} {tuple(array.shape)}{'' if is_contiguous(array) else ' not contiguous'}"
        )
    if like is not None and place(array) != place(like):
        raise ValueError(f"{name} must be a {place(like)} array like the other arguments; got a {place(array)} array")
    return bound


def _bind(
    lengths: tuple[int, ...], shape: tuple[str | int, ...], sizes: tuple[tuple[str, int], ...]
) -> dict[str, int] | None:
    """`sizes` with the letters of `shape` added, or None when `lengths` does not fit."""
    bound = dict(sizes)
    if shape and str(shape[0]).startswith("["):
        lengths = (1, *lengths) if len(lengths) == len(shape) - 1 else lengths
        shape = (str(shape[0]).strip("[]"), *shape[1:])
    if len(lengths) != len(shape):
        return None
    for length, axis in zip(lengths, shape, strict=True):
        if (bound.setdefault(axis, length) if isinstance(axis, str) else axis) != length:
            return None
    return bound


_bind_again = functools.lru_cache(maxsize=512)(_bind)  # not to be written to


def _spelled(shape: tuple[str | int, ...], sizes: Mapping[str, int]) -> str:
    axes = [f"{axis}={sizes[axis]}" if isinstance(axis, str) and axis in sizes else str(axis) for axis in shape]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def place(array: Array) -> str:
    """Library and device in words, such as `"numpy"` or `"torch cuda:0"`; arrays of one op call share it."""
    kind = library("array", array)
    if kind == "torch":
        return f"torch {array.device}"
    return kind if kind == "numpy" else f"cupy cuda:{array.device.id}"


def empty(like: Array, shape: tuple[int, ...], dtype: str) -> Array:
    """An uninitialised contiguous array of `shape` and `dtype` in the library and on the device of `like`."""
    return _allocate(like, shape, dtype)


def _allocate(like: Array, shape: tuple[int, ...], dtype: str) -> Array:
    kind = library("like", like)
    if kind == "torch":
        torch = importlib.import_module("torch")
        return torch.empty(shape, dtype=getattr(torch, dtype), device=like.device)
    if kind == "numpy":
        return np.empty(shape, dtype)
    with like.device:
        return importlib.import_module("cupy").empty(shape, dtype)


def scratch(like: Array, workers: int, size: int) -> Array:
    """Working memory (workers, size) float64 on the device of `like`, uninitialised; hold it until the kernel is done.

    On the CPU a thread keeps its last one, up to KEPT_BYTES: fresh pages would cost a tenth of a label's time.
    """
    if on_device(like):
        return empty(like, (workers, size), "float64")
    kept: np.ndarray[Any, Any] | None = getattr(_thread, "scratch", None)
    if kept is None or kept.size < workers * size:
        kept = _allocate(np.empty(0), (workers * size,), "float64")
        _thread.scratch = kept if kept.nbytes <= KEPT_BYTES else None
    return kept[: workers * size].reshape(workers, size)


def moved(like: Array, small: np.ndarray[Any, Any]) -> Array:
    """A few numbers (edges, priors) as an array in the library and on the device of `like`; not to be written to.

    A GPU keeps what it was given once, without end up to KEPT_SMALL arrays: uploading waits for the stream, which CUDA
    graphs forbid, so capture needs one call before it; and what is kept for good is safe on every stream.
    """
    kind = library("like", like)
    if not on_device(like):
        return importlib.import_module("torch").from_numpy(small) if kind == "torch" else small
    key = (place(like), small.dtype.str, small.shape, small.tobytes())
    found = _kept_small.get(key)
    if found is None:
        found = _uploaded(like, small)
        if len(_kept_small) < KEPT_SMALL:
            _kept_small[key] = found
    return found


def on_gpu(host: np.ndarray[Any, Any]) -> Array:
    """A copy as a cupy array on the process's current GPU; ImportError without cupy, its RuntimeError without a GPU."""
    return importlib.import_module("cupy").asarray(host)


def _uploaded(like: Array, small: np.ndarray[Any, Any]) -> Array:
    """`small` on the device of `like`, there when the call returns."""
    if library("like", like) == "torch":
        return importlib.import_module("torch").tensor(small, device=like.device)
    cupy = importlib.import_module("cupy")
    with like.device:
        made = cupy.asarray(small)
        cupy.cuda.get_current_stream().synchronize()
    return made


def describe(array: Array, shape: tuple[int, ...] | None = None) -> Described:
    """`(memory, dtype, on_device, shape)`, the form in which a contiguous array crosses into C++ for one call.

    memory  the address of the first element, 0 for an array without elements; a numpy array itself, whose buffer C++
            asks for, which is many times as fast and refuses what is not contiguous
    shape   the axes to give it, when they are not its own: a batch of one for a single frame; the same element count
    Raises TypeError when there is no such memory, ValueError for another element count.
    """
    own = tuple(array.shape)
    if shape is not None and math.prod(shape) != math.prod(own):
        raise ValueError(f"an array of shape {own} cannot be read as {shape}")
    given = own if shape is None else shape
    if isinstance(array, np.ndarray):
        return array, NUMPY_NAMES.get(array.dtype.str) or str(array.dtype), False, given
    if library("array", array) == "cupy":
        return int(array.data.ptr) if array.size else 0, dtype_name(array), True, given
    if type(array).__module__.startswith("torch._subclasses") or array.is_neg():
        kind = "negated view" if array.is_neg() else type(array).__name__
        raise TypeError(f"a {kind} has no memory of its own that a kernel could read; pass a plain tensor")
    return int(array.data_ptr()) if array.numel() else 0, dtype_name(array), on_device(array), given


def fetched(array: Array) -> np.ndarray[Any, Any]:
    """A few numbers that a kernel wrote, as a numpy array; waits for the stream of a CUDA array."""
    if isinstance(array, np.ndarray):
        return array
    kind = library("array", array)
    return np.asarray(array.detach().cpu() if kind == "torch" else array.get())


def describe_optional(array: Array | None, shape: tuple[int, ...] | None = None) -> Described | None:
    """`describe`, and None for an output that is not wanted."""
    return None if array is None else describe(array, shape)


def stream(array: Array) -> int:
    """The handle of the CUDA stream that the array's library is working on now; 0 on the CPU."""
    if not on_device(array):
        return 0
    if library("array", array) == "torch":
        return int(importlib.import_module("torch").cuda.current_stream(array.device).cuda_stream)
    with array.device:
        return int(importlib.import_module("cupy").cuda.get_current_stream().ptr)


def backend(array: Array) -> ModuleType:
    """The compiled module for the array's device; ImportError that says how to build it when it is absent."""
    module = CUDA_MODULE if on_device(array) else CPU_MODULE
    try:
        return sys.modules.get(module) or importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        compiler = " with nvcc on PATH" if module == CUDA_MODULE else ""
        raise ImportError(
            f"{module} is not built for the fastseg at {importlib.import_module('fastseg').__path__[0]}: "
            f"install the checkout with `pip install -e .`{compiler}"
        ) from error


def permuted(array: Array, axes: tuple[int, ...]) -> Array:
    """A view of the array with its axes in another order."""
    return array.permute(axes) if library("array", array) == "torch" else array.transpose(axes)


def contiguous(array: Array) -> Array:
    """The array itself when its elements lie one after another, else a copy in which they do."""
    kind = library("array", array)
    if kind == "torch":
        return array.contiguous()
    return (np if kind == "numpy" else importlib.import_module("cupy")).ascontiguousarray(array)


def cast(array: Array, dtype: str) -> Array:
    """The array in another element type, itself when it has that type."""
    if library("array", array) == "torch":
        return array.to(getattr(importlib.import_module("torch"), dtype))
    return array if dtype_name(array) == dtype else array.astype(dtype)


def matmul(a: Array, b: Array) -> Array:
    """The matrix product in the element type of `a`, by the library's own GEMM, which sums at least in float32."""
    if library("a", a) != "numpy" or dtype_name(a) != "float16":
        return a @ b
    return (a.astype(np.float32) @ b.astype(np.float32)).astype(np.float16)  # numpy has no such GEMM for halves
