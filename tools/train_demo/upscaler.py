"""The upscaler: twice the size, trained on renderings and on textures, and measured against Lanczos and bicubic."""
import math
import random

import torch
from torch.nn import functional as F

import networks
from data import picture_pool
from run import Average, Progress, optimizer_step

STYLES = {"papercut": 0.15, "line": 0.15, "plain": 0.7}


def textures(count, size, device):
    """Stripes, checks, rings and noise of many scales, colored, [count, 3, size, size] in 0..1."""
    axis = torch.arange(size, device=device, dtype=torch.float32)
    y, x = axis[None, :, None], axis[None, None, :]
    angle = torch.rand(count, 1, 1, device=device) * math.pi
    frequency = 2.0 ** (torch.rand(count, 1, 1, device=device) * 3.5 - 4.5)
    along = (x * torch.cos(angle) + y * torch.sin(angle)) * frequency
    across = (y * torch.cos(angle) - x * torch.sin(angle)) * frequency
    rings = ((x - size * torch.rand(count, 1, 1, device=device)) ** 2 + (y - size * torch.rand(count, 1, 1, device=device)) ** 2).sqrt() * frequency
    noise = sum(F.interpolate(torch.rand(count, 1, max(2, size >> level), max(2, size >> level), device=device), size=(size, size), mode="bicubic", align_corners=False)[:, 0]
                / 2 ** (5 - level) for level in range(1, 6))
    kinds = torch.stack([torch.sin(along), torch.sin(along) * torch.sin(across), torch.sin(rings), 2 * noise - 1], 1)
    chosen = kinds[torch.arange(count), torch.randint(4, (count,))]
    sharp = 2.0 ** (torch.rand(count, 1, 1, device=device) * 4)
    share = torch.sigmoid(chosen * sharp * 2)[:, None]
    first, second = torch.rand(2, count, 3, 1, 1, device=device)
    return first + (second - first) * share


def halved(pictures, kind=None):
    """Half the size, by averaging or by one of two filters: what an original may have been through."""
    kind = kind or random.choice(["area", "bilinear", "bicubic"])
    if kind == "area":
        return F.avg_pool2d(pictures, 2)
    return F.interpolate(pictures, scale_factor=0.5, mode=kind, antialias=True, align_corners=False).clamp(0, 1)


def lanczos_doubled(x):
    """Lanczos of three lobes, to twice the size, edges repeated."""
    def weights(offset):
        taps = [i - offset for i in range(-3, 4)]
        values = [1.0 if t == 0 else (math.sin(math.pi * t) * math.sin(math.pi * t / 3) * 3 / (math.pi * t) ** 2 if abs(t) < 3 else 0.0) for t in taps]
        return [v / sum(values) for v in values]
    for axis in (2, 3):
        rows = []
        for offset in (-0.25, 0.25):
            kernel = torch.tensor(weights(offset), device=x.device)
            pad = (0, 0, 3, 3) if axis == 2 else (3, 3, 0, 0)
            shape = (3, 1, 7, 1) if axis == 2 else (3, 1, 1, 7)
            rows.append(F.conv2d(F.pad(x, pad, mode="replicate"), kernel.view(1, 1, *shape[2:]).expand(shape), groups=3))
        x = torch.stack(rows, axis + 1).flatten(axis, axis + 1)
    return x.clamp(0, 1)


def psnr(a, b):
    return -10 * torch.log10(((a - b) ** 2).mean((1, 2, 3)).clamp(1e-10)).mean().item()


def ssim(a, b):
    """Of the luminance, Gaussian windows of 11 and 1.5 ("Image Quality Assessment", Wang et al. 2004)."""
    luminance = torch.tensor([0.299, 0.587, 0.114], device=a.device)[None, :, None, None]
    a, b = (a * luminance).sum(1, keepdim=True), (b * luminance).sum(1, keepdim=True)
    g = torch.exp(-(torch.arange(11, device=a.device) - 5.0) ** 2 / (2 * 1.5 ** 2))
    window = (g[:, None] * g[None] / g.sum() ** 2)[None, None]
    mean = lambda x: F.conv2d(x, window)
    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma ** 2, mean(b * b) - mb ** 2, mean(a * b) - ma * mb
    return (((2 * ma * mb + 1e-4) * (2 * vab + 9e-4)) / ((ma ** 2 + mb ** 2 + 1e-4) * (va + vb + 9e-4))).mean().item()


def train(run):
    pictures, _ = picture_pool(run, run.recipe["pictures"] // 2, STYLES, 31)
    network = networks.RrdbNet().to(run.device, memory_format=torch.channels_last)
    predict = run.compiled(network)
    optimizer = torch.optim.AdamW(network.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    average, progress, size = Average(network, 0.998), Progress(run, "upscaler"), run.recipe["upscaler"][1]
    going = True
    while going:
        i = torch.randint(len(pictures), (size * 3 // 4,), device=run.device)
        at = [random.randrange(256 - 128 + 1) for _ in range(2)]
        parts = pictures[i, :, at[0]:at[0] + 128, at[1]:at[1] + 128].float() / 255
        large = torch.cat([parts, textures(size - len(parts), 128, run.device)])
        small = (halved(large) * 255).round() / 255
        # Not in bf16, whose rounding is as large as the errors that are left.
        loss = (predict(small) - large).abs().mean()
        optimizer_step(loss, optimizer, list(network.parameters()), progress.rate(1e-3))
        average.update(network)
        going = progress.going(loss.detach())
    network.load_state_dict(average.weights)
    run.save("upscaler", weights=network.state_dict())
    measure(run, network)


def measure(run, network):
    """PSNR and SSIM on pictures and textures that training did not see."""
    with torch.no_grad():
        held_out, _ = picture_pool(run, min(256, run.recipe["pictures"]), STYLES, 98)
        for name, large in (("pictures", held_out.float() / 255), ("textures", textures(min(256, len(held_out)), 256, run.device))):
            small = (halved(large, "area") * 255).round() / 255
            ways = {"upscaler": torch.cat([network(small[i:i + 16]).clamp(0, 1) for i in range(0, len(small), 16)]), "lanczos": lanczos_doubled(small),
                    "bicubic": F.interpolate(small, scale_factor=2.0, mode="bicubic", align_corners=False).clamp(0, 1)}
            print(f"upscaling {name}:", {k: f"{psnr(v, large):.2f} dB, SSIM {ssim(v, large):.4f}" for k, v in ways.items()}, flush=True)
