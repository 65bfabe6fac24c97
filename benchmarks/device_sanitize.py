"""Every kernel once at odd sizes, for compute-sanitizer: `compute-sanitizer python -m benchmarks.device_sanitize`.

Inputs come from the host, so that initcheck sees them written. It checks no values: the tests do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseg.frames import Camera
from fastseg.ops.decile_rank import decile_rank, ensemble_deciles
from fastseg.ops.gated_conv import gated_dilated_conv2d, gated_dilated_pool2d
from fastseg.ops.hn_labels import hn_labels
from fastseg.ops.normals import ESTIMATORS, normals
from fastseg.ops.photometric import photometric_loss, ssim

SIZES = ((1, 1), (31, 33), (33, 257))
DILATIONS = (1, 2, 4, 8, 16)
RNG = np.random.default_rng(0)


def put(array: Any) -> Any:
    """A numpy array on the GPU as a tensor."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).cuda()


def uniform(*shape: int) -> Any:
    return put(RNG.random(shape, np.float32))


# Of any type: the words below are variables here, which their types are not.
conv: Any = gated_dilated_conv2d
pool: Any = gated_dilated_pool2d
loss_of: Any = photometric_loss
ssim_of: Any = ssim
normals_of: Any = normals
labels_of: Any = hn_labels


def depth_ops(height: int, width: int) -> None:
    """`normals` with every estimator, small and wide windows, strides; `hn_labels` with both gravities."""
    camera = Camera(0.9 * width, 0.9 * width, width / 2, height / 2, height, width)
    depth = (2000 + 200 * RNG.random((2, height, width))).astype(np.uint16)
    depth[:, ::7, ::5] = 0
    raw = put(depth.astype(np.uint16))
    for estimator in ESTIMATORS:
        for radius in (1, 3, 10):
            for stride in (1, 4):
                normals_of(raw, camera, depth_scale=0.001, estimator=estimator, radius=radius, stride=stride)
    normals_of(put(depth.astype(np.float32)), camera, depth_scale=0.001, outputs=("normals",))
    labels_of(raw, camera, depth_scale=0.001, outputs=("label", "points", "normals"))
    labels_of(raw, camera, depth_scale=0.001, gravity="manhattan")


def rank_ops(height: int, width: int) -> None:
    """`decile_rank` and the ensemble step."""
    decile_rank(uniform(3, height, width))
    ensemble_deciles(uniform(4, 2, height, width))


def photometric_ops(height: int, width: int) -> None:
    """`photometric` forward and backward with every window, two sources and a gradient for them; `ssim`."""
    import torch

    target, sources = uniform(2, 3, height, width), uniform(2, 2, 3, height, width).requires_grad_()
    depth = (1 + uniform(2, height, width)).requires_grad_()
    intrinsics = put(np.array([[width, width, width / 2, height / 2]] * 2, np.float32))
    poses = put(np.broadcast_to(np.eye(4, dtype=np.float32), (2, 2, 4, 4))).requires_grad_()
    for window, radius in (("box3", 1), ("box7", 3), ("gauss11", 5)):
        if min(height, width) <= radius:
            continue
        loss = loss_of(target, sources, depth, intrinsics, poses, ssim=window, automask=True)[0]
        torch.autograd.grad(loss.sum(), (depth, poses, sources))
        ssim_of(target, sources[:, 0].contiguous(), window)


def gated_ops(height: int, width: int) -> None:
    """`gated_conv`: soft and hard, tied and untied, float32 and bf16, both layouts, backward; both poolings."""
    import torch

    gate = uniform(1, len(DILATIONS), height, width)
    for dtype in (torch.float32, torch.bfloat16):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = uniform(1, 17, height, width).to(dtype).contiguous(memory_format=layout)
            for tied in (False, True):
                shape = (33, 17, 3, 3) if tied else (len(DILATIONS), 33, 17, 3, 3)
                leaves = [part.requires_grad_() for part in (x.clone(), uniform(*shape).to(dtype), gate.clone())]
                for hard in (False, True):
                    y = conv(*leaves[:2], leaves[2], DILATIONS, hard=hard)
                    torch.autograd.grad(y.float().sum(), leaves[: 2 if hard else 3])
    x = uniform(1, 17, height, width).requires_grad_()
    for kind in ("avg", "max"):
        y = pool(x, gate, DILATIONS, kind)
        torch.autograd.grad(y.sum(), x)


def main() -> int:
    """0 once every kernel has run; the sanitizer gives its own exit code."""
    import torch

    for height, width in SIZES:
        for part in (depth_ops, rank_ops, photometric_ops, gated_ops):
            part(height, width)
            torch.cuda.synchronize()
    print(f"every kernel ran at {', '.join(f'{height}x{width}' for height, width in SIZES)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
