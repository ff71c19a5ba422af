"""Pictures and latents to train on, made as they are needed."""
import os
import random
import time
from dataclasses import dataclass

import torch
from torch.nn import functional as F

import renderer
import scenes
from models import load_autoencoder, padded


@dataclass
class Sample:
    """A scene, what the renderer makes of it, and two captions with their tokens."""
    scene: scenes.Scene
    layout: tuple
    captions: list
    tokens: list


def _samples(part):
    """In a process of its own."""
    seed, count, style, tokenizer, reserved = part
    rng, samples = random.Random(seed), []
    for _ in range(count):
        scene = scenes.random_scene(rng, rng.random() < reserved)
        captions = [scenes.caption(scene, rng, style) for _ in range(2)]
        samples.append(Sample(scene, renderer.layout(scene), captions, [tokenizer(text, rng) for text in captions]))
    return samples


def sample_scenes(run, count, style="plain", seed=0, reserved=0.0):
    """Samples, ordered by place and time, since the renderer draws those together; reserved: the share of scenes that
    the model is not to see."""
    parts = [(seed * 1000003 + i, min(512, count - at), style, run.tokenizer, reserved) for i, at in enumerate(range(0, count, 512))]
    samples = [s for group in run.in_processes(_samples, parts) for s in group]
    return sorted(samples, key=lambda s: (s.scene.place, s.scene.time))


def pictures_of(run, samples, style, size=renderer.SIZE):
    """Batches of pictures [N, 3, size, size] in 0..1 on the device, in order."""
    batch = max(1, (1024 if run.device == "cuda" else 32) * renderer.SIZE ** 2 // size ** 2)
    for at in range(0, len(samples), batch):
        part = samples[at:at + batch]
        yield renderer.render([s.scene for s in part], run.device, style, [s.layout for s in part], size)


def picture_pool(run, count, styles, seed, reserved=0.0):
    """uint8 pictures [count, 3, 256, 256] on the device, their scenes and their styles, in random order."""
    pictures = torch.empty(count, 3, 256, 256, dtype=torch.uint8, device=run.device)
    order = torch.randperm(count).tolist()
    chosen, at = [None] * count, 0
    for style, share in styles.items():
        size = count - at if style == list(styles)[-1] else int(count * share)
        samples = sample_scenes(run, size, style, seed, reserved)
        start = 0
        for batch in pictures_of(run, samples, style):
            places = order[at + start:at + start + len(batch)]
            pictures[places] = (batch * 255).round().to(torch.uint8)
            for place, sample in zip(places, samples[start:start + len(batch)]):
                chosen[place] = (sample.scene, style)
            start += len(batch)
        at += size
    return pictures, chosen


def blurred(pictures, small):
    """As if enlarged from `small` pixels a side."""
    down = F.interpolate(pictures, size=(small, small), mode="bilinear", antialias=True)
    return F.interpolate(down, size=pictures.shape[-2:], mode="bicubic").clamp(0, 1)


class Latents:
    """Latents of square pictures, normed, with what tells of them: token rows, ends, time ids. Kept in a file for other stages."""
    def __init__(self, run, count, style="plain", seed=1, size=renderer.SIZE):
        self.parts = ("x", "rows", "ends", "time_ids")
        kept = run.path(f"latents_{style}_{size}_{count}_{seed}.pt")
        if os.path.exists(kept):
            for name, value in torch.load(kept, map_location=run.device).items():
                setattr(self, name, value)
            return
        begin = time.time()
        self._make(run, count, style, seed, size)
        torch.save({name: getattr(self, name) for name in self.parts}, kept)
        print(f"{count} latents ({style}, {size}x{size}) in {time.time() - begin:.0f} s; deviation {self.x[::97].float().std().item():.3f}", flush=True)

    def _make(self, run, count, style, seed, size):
        vae, scale = load_autoencoder(run)
        samples = sample_scenes(run, count, style, seed)
        self.x = torch.empty(count, 4, size // 8, size // 8, device=run.device, dtype=torch.float16)
        self.time_ids = torch.tensor([[size, size, 0, 0, size, size]], device=run.device, dtype=torch.float32).repeat(count, 1)
        self.rows, self.ends = padded([t for s in samples for t in s.tokens], run.device)
        encoder = run.compiled(vae.encoder) if size == renderer.SIZE else vae.encoder
        at, rng = 0, random.Random(seed)
        with torch.no_grad(), run.autocast():
            for pictures in pictures_of(run, samples, style, size):
                # A tenth comes from small originals, and shows it: what SDXL's size conditioning is about.
                originals = (size * 2.0 ** (2 * torch.rand(len(pictures), 1, device=run.device))).round()
                soft = torch.rand(len(pictures), device=run.device) < 0.1
                small = rng.choice([32, 48, 64, 96, 128])
                pictures[soft], originals[soft] = blurred(pictures[soft], small), float(small)
                self.time_ids[at:at + len(pictures), :2] = originals
                for part in pictures.split(max(1, 256 * renderer.SIZE ** 2 // size ** 2)):
                    mean = vae.quant_conv(encoder(2 * part - 1)).chunk(2, 1)[0]
                    self.x[at:at + len(part)] = (mean.float() * scale).half()
                    at += len(part)

    def batch(self, size):
        i = torch.randint(len(self.x), (size,), device=self.x.device)
        j = 2 * i + torch.randint(2, (size,), device=self.x.device)
        return self.x[i].float(), self.rows[j].long(), self.ends[j].long(), self.time_ids[i]


class LatentsOfSizes:
    """Mostly pictures of 256x256, now and then fewer larger ones, so that large pictures do not repeat their parts."""
    def __init__(self, run):
        counts = run.recipe["latents"]
        self.by_size = {size: Latents(run, count, size=size) for size, count in counts.items()}
        self.rng = random.Random(run.arguments.seed)

    def batch(self, size):
        """(batch as of Latents, whether its pictures have the usual size)"""
        drawn = self.rng.random()
        side = 1024 if drawn < 0.04 else 512 if drawn < 0.16 else 256
        side = side if side in self.by_size else 256
        # The networks are compiled for one size; as they are, they take twice the memory.
        return self.by_size[side].batch(size if side == 256 else max(1, size * 256 ** 2 // side ** 2 // 2)), side == 256


def make_latents(run):
    """Those of LatentsOfSizes, in their files."""
    counts = run.recipe["latents"]
    for size in run.arguments.sizes or counts:
        Latents(run, counts[size], size=size)
