"""Photometric operations of augmentation: settings that change frames when called, one draw for all frames given.

Parameters, units and rounding are those of the published training (METHOD section 5): hue in OpenCV's half degrees,
saturation and value in grey levels, look-up tables that round down. The functions take what an operation has drawn.
Randomness comes from torch's global generator.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torchvision.transforms import v2

from sspcore.core.settings import Section


def _ascending(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError(f"{list(span)}: expected the smaller value first")
    return span


Span = Annotated[tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], AfterValidator(_ascending)]
Share = Annotated[float, Field(ge=0, le=1)]
Picture = np.ndarray[Any, np.dtype[np.uint8]]  # (H, W, 3) RGB


def uniform(low: float, high: float) -> float:
    """A number between the two, all equally likely."""
    return low + (high - low) * float(torch.rand(()))


def generator() -> np.random.Generator:
    """A generator of NumPy, seeded by torch's: it draws large noise three times as fast."""
    return np.random.default_rng(int(torch.randint(2**62, ())))


def stack_frames(frames: Tensor) -> Picture:
    """(T, 3, H, W) uint8 frames as one picture (T * H, W, 3), frames one below the other."""
    count, channels, height, width = frames.shape
    return np.ascontiguousarray(frames.movedim(1, -1).numpy()).reshape(count * height, width, channels)


def unstack_frames(picture: Picture, count: int) -> Tensor:
    """The (T, 3, H, W) frames of a picture that holds `count` of them, the reverse of `stack_frames`."""
    return torch.from_numpy(picture.reshape(count, -1, *picture.shape[1:])).movedim(-1, 1)


def adjust_brightness_contrast(picture: Picture, factor: float, shift: float) -> Picture:
    """Grey levels times `factor` plus `shift`."""
    levels = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(shift)
    return cv2.LUT(picture, levels.clip(0, 255).astype(np.uint8))


def adjust_gamma(picture: Picture, gamma: float) -> Picture:
    """Grey levels between 0 and 1 to the power of `gamma`."""
    return cv2.LUT(picture, ((np.arange(256) / 255) ** gamma * 255).astype(np.uint8))


def shift_hsv(picture: Picture, hue: float, saturation: float, value: float) -> Picture:
    """Hue (half degrees, on the circle of 180), saturation and value (0 .. 255) moved by these amounts."""
    levels = np.arange(256)
    table = np.stack([
        (levels + hue) % 180, (levels + int(saturation)).clip(0, 255), (levels + int(value)).clip(0, 255),
    ], -1)
    return cv2.cvtColor(cv2.LUT(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV), table.astype(np.uint8)[None]), cv2.COLOR_HSV2RGB)


def clahe(picture: Picture, clip: float, tiles: tuple[int, int]) -> Picture:
    """Contrast-limited adaptive histogram equalisation of the lightness (Lab) of one frame, over tiles (rows, columns)."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clip, tiles[::-1]).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def iso_noise(picture: Picture, colour: float, intensity: float, random: np.random.Generator) -> Picture:
    """Noise of a sensor at high gain: Poisson noise of the lightness and a slight jitter of the hue (degrees)."""
    hls = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2HLS)
    lightness = hls[..., 1]
    noise = random.poisson(intensity * float(lightness.std()), lightness.shape)
    hls[..., 0] += colour * intensity * random.standard_normal(lightness.shape, np.float32)
    hls[..., 1] = (lightness + noise * intensity * (1 - lightness)).clip(0, 1)
    return (cv2.cvtColor(hls, cv2.COLOR_HLS2RGB) * 255).round().clip(0, 255).astype(np.uint8)


def sharpen(picture: Picture, alpha: float, lightness: float) -> Picture:
    """The picture mixed with its sharpened self; `lightness` of 1 keeps the brightness, less darkens."""
    kernel = np.full((3, 3), -alpha, np.float32)
    kernel[1, 1] = 1 - alpha + alpha * (8 + lightness)
    return cv2.filter2D(picture, -1, kernel)


def jpeg(picture: Picture, quality: int) -> Picture:
    """The picture after JPEG (OpenCV's codec, which takes red for blue; torchvision's is deprecated)."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


class BrightnessContrast(Section):
    """Contrast (a factor of 1 +- `contrast`) and brightness (+- `brightness` of white)."""

    kind: Literal["brightness_contrast"] = "brightness_contrast"
    brightness: Share = 0.2
    contrast: Share = 0.2

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, changed alike."""
        factor, shift = 1 + uniform(-self.contrast, self.contrast), 255 * uniform(-self.brightness, self.brightness)
        return unstack_frames(adjust_brightness_contrast(stack_frames(frames), factor, shift), len(frames))


class HueSaturationValue(Section):
    """Hue (half degrees), saturation and value (grey levels), each by up to so much."""

    kind: Literal["hue_saturation_value"] = "hue_saturation_value"
    hue: float = Field(20, ge=0, le=90)
    saturation: float = Field(30, ge=0, le=255)
    value: float = Field(20, ge=0, le=255)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, changed alike."""
        shifts = [uniform(-limit, limit) for limit in (self.hue, self.saturation, self.value)]
        return unstack_frames(shift_hsv(stack_frames(frames), *shifts), len(frames))


class Gamma(Section):
    """Gamma correction by an exponent out of `gamma`."""

    kind: Literal["gamma"] = "gamma"
    gamma: Span = (0.8, 1.2)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, changed alike."""
        return unstack_frames(adjust_gamma(stack_frames(frames), uniform(*self.gamma)), len(frames))


class HSVJitter(Section):
    """The published jitter of windows: contrast, then hue, saturation and value, then gamma; METHOD section 5.

    Its brightness is in grey levels, so +-0.2 changes next to nothing: the reference adds it to frames of 0 .. 255.
    """

    kind: Literal["hsv_jitter"] = "hsv_jitter"
    contrast: Share = 0.2
    brightness: float = Field(0.2, ge=0, le=255)
    hue: float = Field(30, ge=0, le=90)
    saturation: float = Field(20, ge=0, le=255)
    value: float = Field(20, ge=0, le=255)
    gamma: Span = (0.8, 1.2)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, changed alike."""
        limits = (self.contrast, self.brightness, self.hue, self.saturation, self.value)
        contrast, brightness, *shifts = (uniform(-limit, limit) for limit in limits)
        picture = shift_hsv(adjust_brightness_contrast(stack_frames(frames), 1 + contrast, brightness), *shifts)
        return unstack_frames(adjust_gamma(picture, uniform(*self.gamma)), len(frames))


class CLAHE(Section):
    """Contrast-limited adaptive histogram equalisation: the limit out of `clip`, over `tiles` (rows, columns)."""

    kind: Literal["clahe"] = "clahe"
    clip: Span = (1.0, 4.0)
    tiles: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (8, 8)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, each by its own histograms."""
        clip = uniform(*self.clip)
        return torch.cat([unstack_frames(clahe(stack_frames(frame[None]), clip, self.tiles), 1) for frame in frames])


class ISONoise(Section):
    """Noise of a sensor at high gain, of a strength out of `intensity` and a colour shift out of `colour`."""

    kind: Literal["iso_noise"] = "iso_noise"
    colour: Span = (0.01, 0.05)
    intensity: Span = (0.1, 0.5)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, each with its own noise of one strength."""
        colour, intensity = uniform(*self.colour), uniform(*self.intensity)
        return unstack_frames(iso_noise(stack_frames(frames), colour, intensity, generator()), len(frames))


class GaussianNoise(Section):
    """Gaussian noise of a standard deviation out of `deviation`, as a share of white (0.2 is 51 grey levels)."""

    kind: Literal["gaussian_noise"] = "gaussian_noise"
    deviation: Span = (0.2, 0.44)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, each with its own noise of one strength."""
        noise = generator().standard_normal(frames.shape, np.float32)
        noise *= 255 * uniform(*self.deviation)
        np.trunc(noise, out=noise)  # in whole grey levels, so that rounding darkens nothing
        noise += frames.numpy()
        return torch.from_numpy(noise.clip(0, 255, out=noise).astype(np.uint8))


class SensorNoise(Section):
    """Gaussian noise of a standard deviation up to `strength` grey levels."""

    kind: Literal["sensor_noise"] = "sensor_noise"
    strength: float = Field(8, ge=0)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, each with its own noise of one strength."""
        strength = self.strength * float(torch.rand(()))
        return (frames + strength * torch.randn(frames.shape)).round().clamp(0, 255).to(torch.uint8)


class Compression(Section):
    """JPEG of a quality out of `quality`, both ends included."""

    kind: Literal["jpeg"] = "jpeg"
    quality: tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]] = (99, 100)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, each compressed with one quality."""
        quality = int(torch.randint(self.quality[0], self.quality[1] + 1, ()))
        return torch.cat([unstack_frames(jpeg(stack_frames(frame[None]), quality), 1) for frame in frames])


class Sharpen(Section):
    """Mixing with the sharpened frame by a share out of `alpha`; what `lightness` lacks to 1 darkens."""

    kind: Literal["sharpen"] = "sharpen"
    alpha: Span = (0.2, 0.5)
    lightness: Span = (0.5, 1.0)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, changed alike."""
        alpha, lightness = uniform(*self.alpha), uniform(*self.lightness)
        return torch.cat([unstack_frames(sharpen(stack_frames(frame[None]), alpha, lightness), 1) for frame in frames])


class Unsharp(Section):
    """torchvision's sharpening by a fixed factor; 1 changes nothing."""

    kind: Literal["unsharp"] = "unsharp"
    factor: float = Field(2.0, ge=0)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, changed alike."""
        return v2.functional.adjust_sharpness(frames, self.factor)


class Blur(Section):
    """Gaussian blur of a standard deviation (px) out of `sigma`, by a kernel of 3 px."""

    kind: Literal["blur"] = "blur"
    sigma: Span = (0.1, 0.8)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, changed alike."""
        return v2.GaussianBlur(3, self.sigma)(frames)


class ColourJitter(Section):
    """torchvision's jitter: factors of 1 +- these for brightness, contrast and saturation; hue in turns of the circle."""

    kind: Literal["colour_jitter"] = "colour_jitter"
    brightness: Share = 0.3
    contrast: Share = 0.3
    saturation: Share = 0.3
    hue: float = Field(0.05, ge=0, le=0.5)

    def __call__(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) uint8 frames, changed alike."""
        return v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue)(frames)


Photometric = (
    BrightnessContrast | HueSaturationValue | Gamma | HSVJitter | CLAHE | ISONoise | GaussianNoise | SensorNoise
    | Compression | Sharpen | Unsharp | Blur | ColourJitter
)
