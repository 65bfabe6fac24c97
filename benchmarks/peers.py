"""The normals a person can have today, one function a peer: OpenCV (four methods), Open3D (two), kornia, plain numpy.

Every maker takes a Camera and returns `depth metres (H, W) float32, 0 = no measurement -> normals (H, W, 3)`, NaN where
undefined. What can be prepared once for a camera (rays, caches) is prepared by the maker and is not timed; each call
does what the library needs to go from a depth image to its normals, points included. Signs are left as the library
gives them; `oriented` turns them to the camera.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from fastseg.frames import Camera, Frame

Array = npt.NDArray[np.float32]
NormalsOf = Callable[[Array], Array]
OPENCV_METHODS = ("FALS", "LINEMOD", "SRI", "CROSS_PRODUCT")


def metres(frame: Frame) -> Array:
    """The frame's depth (H, W) float32 in metres, 0 where there is no measurement (65535 of a uint16 image too)."""
    depth = frame.depth.astype(np.float32) * np.float32(frame.depth_scale)
    valid = np.isfinite(depth) & (depth > 0)
    if frame.depth.dtype == np.uint16:
        valid &= frame.depth != 65535
    return np.where(valid, depth, np.float32(0))


def rays(camera: Camera) -> Array:
    """(H, W, 3) float32: the ray (X/Z, Y/Z, 1) of every pixel."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float32)
    ray = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones_like(u)], -1)
    return np.asarray(ray, np.float32)


def oriented(normals: Array, ray: Array) -> Array:
    """The normals (H, W, 3) turned to the camera: n . ray < 0."""
    away = np.einsum("ijk,ijk->ij", normals, ray) > 0
    return np.where(away[..., None], -normals, normals)


def matrix(camera: Camera) -> Array:
    """The 3x3 intrinsics matrix, float32."""
    return np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], np.float32)


def open3d_normals(camera: Camera, neighbours: int = 30) -> NormalsOf:
    """Open3D's `estimate_normals` over the nearest neighbours (a k-d tree search), mapped back to the image."""
    import open3d

    ray = rays(camera)
    search = open3d.geometry.KDTreeSearchParamKNN(neighbours)

    def call(depth: Array) -> Array:
        valid = depth > 0
        cloud = open3d.geometry.PointCloud()
        points = (ray[valid] * depth[valid][:, None]).astype(np.float64)
        cloud.points = open3d.utility.Vector3dVector(points)
        cloud.estimate_normals(search)
        out = np.full((*depth.shape, 3), np.nan, np.float32)
        out[valid] = np.asarray(cloud.normals, np.float32)
        return out

    return call


def opencv_normals(camera: Camera, method: str = "FALS", window: int = 7) -> NormalsOf:
    """OpenCV 5's `RgbdNormals` of one of OPENCV_METHODS, a window of 5 or 7 pixels, on points by its `depthTo3d`."""
    import cv2

    code = getattr(cv2, f"RgbdNormals_RGBD_NORMALS_METHOD_{method}")
    threshold = 0.05 if method == "LINEMOD" else 50.0  # metres here, LINEMOD's alone; the others do not read it
    library: Any = cv2  # its stubs do not know RgbdNormals_create
    size = (camera.height, camera.width)
    maker = library.RgbdNormals_create(*size, cv2.CV_32F, matrix(camera), window, threshold, code)
    maker.cache()

    def call(depth: Array) -> Array:
        points = library.depthTo3d(np.where(depth > 0, depth, np.float32(np.nan)), matrix(camera))
        return np.asarray(maker.apply(points)[..., :3], np.float32)

    return call


def kornia_normals(camera: Camera) -> NormalsOf:
    """kornia's `depth_to_normals`: the cross product of the point image's two Sobel derivatives."""
    import torch
    from kornia.geometry.depth import depth_to_normals

    k = torch.from_numpy(matrix(camera))[None]

    def call(depth: Array) -> Array:
        holed = np.where(depth > 0, depth, np.float32(np.nan))
        with torch.inference_mode():
            found = depth_to_normals(torch.from_numpy(holed)[None, None], k)
        return np.asarray(found[0].permute(1, 2, 0).numpy(), np.float32)

    return call


def open3d_tensor_normals(camera: Camera) -> NormalsOf:
    """Open3D's tensor images: a vertex map, then the cross product of its forward differences."""
    import open3d

    library: Any = open3d  # its stubs do not know that a tensor is made from an array
    image, tensor = library.t.geometry.Image, library.core.Tensor
    k = tensor(matrix(camera).astype(np.float64))

    def call(depth: Array) -> Array:
        metric = image(tensor(np.where(depth > 0, depth, np.float32(np.nan))[..., None]))
        found = metric.create_vertex_map(k, np.nan).create_normal_map(np.nan)
        return np.asarray(found.as_tensor().numpy(), np.float32)

    return call


def numpy_normals(camera: Camera) -> NormalsOf:
    """The cross product of central differences of the points in plain numpy, as people write it."""
    ray = rays(camera)

    def call(depth: Array) -> Array:
        points = ray * np.where(depth > 0, depth, np.float32(np.nan))[..., None]
        out = np.full_like(points, np.nan)
        across = points[1:-1, 2:] - points[1:-1, :-2]
        along = points[2:, 1:-1] - points[:-2, 1:-1]
        normal = np.cross(along, across)
        out[1:-1, 1:-1] = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
        return out

    return call


def window_peers(camera: Camera, radius: int = 3) -> dict[str, NormalsOf]:
    """What fits windows of radius `radius` or near it (OpenCV's are 5 or 7 pixels wide); PCL where it is installed.

    Open3D searches 30 neighbours whatever the radius; it comes last, for it takes a second a frame.
    """
    peers = {f"opencv_{m.lower()}": opencv_normals(camera, m, 5 if radius < 3 else 7) for m in OPENCV_METHODS[:3]}
    with suppress(ImportError):
        from benchmarks.peers_pcl import pcl_normals

        for method in ("covariance", "gradient"):
            peers[f"pcl_{method}"] = pcl_normals(camera, method, 2 * radius + 1)
    return {**peers, "open3d_knn": open3d_normals(camera)}


def cross_peers(camera: Camera) -> dict[str, NormalsOf]:
    """What takes cross products of differences of neighbouring points, no window."""
    return {
        "opencv_cross_product": opencv_normals(camera, "CROSS_PRODUCT"),
        "open3d_tensor": open3d_tensor_normals(camera),
        "kornia": kornia_normals(camera),
        "numpy": numpy_normals(camera),
    }


def missing_peers() -> dict[str, str]:
    """Each peer of `window_peers` that this machine lacks, with the reason."""
    try:
        from benchmarks.peers_pcl import pcl_normals

        pcl_normals(Camera(1, 1, 0, 0, 4, 4))
    except ImportError as error:
        return {"pcl_covariance, pcl_gradient": str(error)}
    return {}
