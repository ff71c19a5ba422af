"""What every stage of training needs: device, numbers, files, the clock and the averages of weights."""
import math
import multiprocessing
import os
import random
import time

import torch

import diffusion
from tokens import Tokenizer

RECIPES = {
    # A stage: steps, at most (it ends by time where --seconds is given), and pictures at a step. Latents: by side.
    "gpu": {"classifier": (12000, 256), "autoencoder": (9000, 64), "denoiser": (12000, 1024), "distill": (4000, 512),
            "styles": (1500, 256), "distill_styles": (500, 256), "upscaler": (20000, 64),
            "pictures": 49152, "latents": {256: 131072, 512: 16384, 1024: 3072}, "styled": 16384},
    "cpu": {"classifier": (200, 16), "autoencoder": (150, 2), "denoiser": (60, 4), "distill": (10, 4),
            "styles": (6, 4), "distill_styles": (2, 4), "upscaler": (400, 4),
            "pictures": 512, "latents": {256: 256}, "styled": 24},
}


class Run:
    """Where a stage works: device, numbers of the recipe, files and the clock."""
    def __init__(self, arguments):
        self.arguments = arguments
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.recipe = RECIPES[arguments.recipe]
        self.rng = random.Random(arguments.seed)
        self.tokenizer = Tokenizer(arguments.words)
        self.schedule = diffusion.Schedule(self.device)
        self.processes = max(1, (os.cpu_count() or 1) - 2)
        torch.manual_seed(arguments.seed)
        os.makedirs(arguments.work, exist_ok=True)

    def path(self, name):
        return os.path.join(self.arguments.work, name)

    def save(self, name, **parts):
        """Weights in f16, which is how they are shipped."""
        torch.save({k: {n: t.detach().half().cpu() for n, t in v.items()} if isinstance(v, dict) else v for k, v in parts.items()},
                   self.path(name + ".pt"))

    def load(self, name):
        return torch.load(self.path(name + ".pt"), map_location=self.device)

    def autocast(self):
        return torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda")

    def compiled(self, module):
        return torch.compile(module, dynamic=False) if self.device == "cuda" and self.arguments.compile else module

    def in_processes(self, function, parts):
        """[function(part)], each in a process of its own where there are several to do."""
        if self.processes == 1 or len(parts) == 1:
            return [function(part) for part in parts]
        with multiprocessing.get_context("fork").Pool(self.processes) as pool:
            return pool.map(function, parts, chunksize=1)


class Progress:
    """Steps of a stage: ends by count or time, and says what share is done."""
    def __init__(self, run, stage):
        self.count = run.recipe[stage][0]
        self.seconds = run.arguments.seconds.get(stage, 1e9)
        self.begin, self.step, self.stage, self.told, self.losses = time.time(), 0, stage, 0.0, []

    def share(self):
        return max(self.step / self.count, (time.time() - self.begin) / self.seconds)

    def rate(self, peak):
        warm = min(1.0, (self.step + 1) / min(100, 1 + self.count // 10))
        return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.share()))))

    def going(self, loss=None):
        self.losses.append(loss)
        now = time.time() - self.begin
        if now > self.told + 15 or self.share() >= 1:
            values = [float(v) for v in self.losses[-50:] if v is not None]
            print(f"{self.stage} {self.step}/{self.count} {now:.0f} s loss {sum(values) / max(1, len(values)):.4f}", flush=True)
            self.told, self.losses = now, []
        self.step += 1
        return self.share() < 1


class Average:
    """Exponential moving average of a module's weights."""
    def __init__(self, module, decay):
        self.decay, self.steps = decay, 0
        self.weights = {n: p.detach().clone() for n, p in module.state_dict().items()}

    def update(self, module):
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine = list(self.weights.values())
        theirs = [p.detach() for p in module.state_dict().values()]
        torch._foreach_mul_(mine, decay)
        torch._foreach_add_(mine, theirs, alpha=1 - decay)


def optimizer_step(loss, optimizer, parameters, rate):
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
