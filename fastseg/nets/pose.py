"""The camera's motion between two frames, and where it is not known the camera itself, learned beside depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastseg.nets.made_again import encoded
from fastseg.nets.published import pyramid

STEP = 0.01  # what the network's numbers are multiplied by: training begins at almost no motion
GREY, SPREAD = 0.45, 0.225
LENS_STEP = (10.0, 10.0, 1.0, 1.0)  # what the camera's numbers are multiplied by: Adam changes them by a step's rate;
# the centre slowly, since until motion is known it takes over what a turn of the camera explains


class PoseNet(nn.Module):
    """T_source_target (N, 4, 4), which maps points of the target frame into the source frame.

        (axis-angle, translation) = 0.01 mean_p f(target, source)(p)

    encoder   a timm encoder that takes six channels, ResNet18 the paper's
    camera    a LearnedCamera is its `lens`, which `forward` leaves alone
    """

    def __init__(self, encoder: str = "resnet18", width: int = 256, camera: bool = False) -> None:
        super().__init__()
        self.lens = LearnedCamera() if camera else None
        self.encoder, channels = pyramid(encoder, 6)
        self.head = nn.Sequential(
            nn.Conv2d(channels[-1], width, 1), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(width, 6, 1),
        )  # fmt: skip

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """target, source (N, 3, H, W) in [0, 1]."""
        pair = (torch.cat([target, source], 1) - GREY) / SPREAD
        found: Tensor = self.head(encoded(self.encoder, pair)[-1])
        motion = STEP * found.mean((2, 3)).float()
        return rigid(motion[:, :3], motion[:, 3:])


class LearnedCamera(nn.Module):
    """The intrinsics (N, 4) of images of one camera, float32, learned from where they are thought to be.

        fx = e^a fx_0,  fy = e^b fy_0,  cx = cx_0 + p w,  cy = cy_0 + q h
        (a, b, p, q) = LENS_STEP `change`, 0 at first

    w, h are the pixels that the whole picture takes in an image, w negative in a mirrored one: the camera learned is
    the same in units of the picture's width and height, however its pictures are resized, cropped and mirrored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.change = nn.Parameter(torch.zeros(4))

    def forward(self, camera: Tensor, extent: Tensor) -> Tensor:
        """camera (N, 4) fx_0, fy_0, cx_0, cy_0 in pixels of each image; extent (N, 2) w, h."""
        change = self.change.new_tensor(LENS_STEP) * self.change
        return torch.cat(
            [camera[:, :2].float() * change[:2].exp(), camera[:, 2:].float() + change[2:] * extent.float()], 1
        )


def rigid(axis_angle: Tensor, translation: Tensor) -> Tensor:
    """The motion x -> R x + t as (N, 4, 4), its gradient finite also where nothing turns.

        R = I + sin(a)/a K + (1 - cos(a))/a^2 K^2,  a = |w|,  K x = w cross x     (Rodrigues)

    axis_angle    (N, 3) w, radians; translation (N, 3) t, metres up to the scale of the depth
    """
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    squared = (axis_angle * axis_angle).sum(-1)
    small = squared < 1e-6
    angle = squared.where(~small, torch.ones_like(squared)).sqrt()
    # Taylor below 1e-3 radians, where the next terms are beyond float32 and the square root has no derivative at 0
    first = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    second = torch.where(small, 0.5 - squared / 24, 2 * (angle / 2).sin() ** 2 / angle**2)
    found = torch.eye(4, dtype=squared.dtype, device=squared.device).expand(len(squared), 4, 4)
    # K^2 = w w^T - a^2 I, entry by entry: autocast would take a matrix product in half precision
    twice = axis_angle[:, :, None] * axis_angle[:, None] - squared[:, None, None] * found[:, :3, :3]
    turn = first[:, None, None] * cross + second[:, None, None] * twice
    moved = torch.cat([found[:, :3, :3] + turn, translation[:, :, None]], 2)
    return torch.cat([moved, found[:, 3:]], 1)


def inverse(motion: Tensor) -> Tensor:
    """The motion that undoes x -> R x + t: x -> R^T (x - t), (..., 4, 4)."""
    turn = motion[..., :3, :3].transpose(-1, -2)
    # the product entry by entry: autocast would take a matrix product in half precision
    back = -(turn * motion[..., None, :3, 3]).sum(-1, keepdim=True)
    return torch.cat([torch.cat([turn, back], -1), motion[..., 3:, :]], -2)
