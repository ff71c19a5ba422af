"""Styles: low-rank changes of the UNet (LoRA, and its form for convolutions), first learned for the diffusion model from
pictures of a style, then distilled as the model itself was."""
import torch
from torch.nn import functional as F

import diffusion
from data import Latents
from denoiser import consistency_step
from models import load_denoiser
from run import Average, Progress, optimizer_step

try:
    from torch.func import functional_call
except ImportError:  # before PyTorch 2.0
    from torch.nn.utils.stateless import functional_call

STYLES = ["papercut", "line", "pixel"]
LINEAR_RANK, CONV_RANK = 4, 2


class Lora(torch.nn.Module):
    """down and up for every linear layer of the attentions and every convolution of 3x3 in a UNet."""
    def __init__(self, unet):
        super().__init__()
        self.names, self.down, self.up = [], torch.nn.ParameterList(), torch.nn.ParameterList()
        for name, module in unet.named_modules():
            linear = isinstance(module, torch.nn.Linear) and ".attentions." in name
            if not linear and not (isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3)):
                continue
            rank = LINEAR_RANK if linear else CONV_RANK
            inner = module.weight[0].numel()
            self.names.append(name)
            self.down.append(torch.nn.Parameter(torch.randn(rank, inner) / inner ** 0.5))
            self.up.append(torch.nn.Parameter(torch.zeros(len(module.weight), rank)))

    def merged(self, unet):
        """The UNet's parameters with this added, for functional_call."""
        weights = dict(unet.named_parameters())
        for name, down, up in zip(self.names, self.down, self.up):
            base = weights[name + ".weight"]
            weights[name + ".weight"] = base + (up @ down).view(base.shape)
        return weights

    def on(self, unet):
        weights = self.merged(unet)
        return lambda *inputs: functional_call(unet, weights, inputs)

    def tensors(self, unet):
        """In kohya's naming; alpha is the rank, so that strength 1 is as trained."""
        result = {}
        modules = dict(unet.named_modules())
        for name, down, up in zip(self.names, self.down, self.up):
            key = "lora_unet_" + name.replace(".", "_")
            weight = modules[name].weight
            result[key + ".lora_down.weight"] = down.view(len(down), *weight.shape[1:])
            result[key + ".lora_up.weight"] = up if weight.dim() == 2 else up[:, :, None, None]
            result[key + ".alpha"] = torch.tensor(float(len(down)))
        return result


def add(unet, tensors, strength=1.0):
    """Adds a style, as `Lora.tensors` names its parts, to a UNet's weights."""
    with torch.no_grad():
        for name, module in unet.named_modules():
            key = "lora_unet_" + name.replace(".", "_")
            if key + ".alpha" in tensors:
                down, up = (tensors[f"{key}.lora_{part}.weight"].float().flatten(1) for part in ("down", "up"))
                module.weight += strength * (up @ down).view(module.weight.shape)


def train(run):
    """On the diffusion model. What it leaves works with the distilled one, too; `distill` makes it sharper."""
    teacher, text = load_denoiser(run)
    teacher.requires_grad_(False).to(memory_format=torch.channels_last)
    for number, style in enumerate(STYLES):
        data = style_latents(run, number)
        lora = Lora(teacher).to(run.device)
        _diffuse(run, data, text, teacher, lora, Progress(run, "styles"))
        run.save("style_" + style, weights=lora.tensors(teacher), taught=lora.state_dict())


def distill(run):
    teacher, text = load_denoiser(run)
    student, _ = load_denoiser(run, "distilled")
    for unet in (teacher, student):
        unet.requires_grad_(False).to(memory_format=torch.channels_last)
    for number, style in enumerate(STYLES):
        data, taught = style_latents(run, number), Lora(teacher).to(run.device)
        taught.load_state_dict({k: v.float() for k, v in run.load("style_" + style)["taught"].items()})
        lora = Lora(student).to(run.device)
        lora.load_state_dict(taught.state_dict())
        with torch.no_grad():
            guide = taught.on(teacher)
        _distill(run, data, text, guide, student, lora, Progress(run, "distill_styles"))
        run.save("style_" + style, weights=lora.tensors(student), taught=taught.state_dict())


def style_latents(run, number):
    return Latents(run, run.recipe["styled"], STYLES[number], 40 + number)


def _diffuse(run, data, text, teacher, lora, progress):
    optimizer = torch.optim.AdamW(lora.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    going = True
    while going:
        x0, rows, ends, time_ids = data.batch(run.recipe["styles"][1])
        t = torch.randint(diffusion.STEPS, (len(x0),), device=run.device)
        noise = torch.randn_like(x0)
        with run.autocast():
            states, pooled = text(rows, ends)
            v = lora.on(teacher)(run.schedule.noised(x0, noise, t), t, states, pooled, time_ids).float()
        loss = F.mse_loss(v, run.schedule.velocity(x0, noise, t))
        optimizer_step(loss, optimizer, list(lora.parameters()), progress.rate(2e-3))
        going = progress.going(loss.detach())


def _distill(run, data, text, guide, student, lora, progress):
    optimizer = torch.optim.AdamW(lora.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    average, shipped = Average(lora, 0.95), Average(lora, 0.99)
    target = Lora(student).to(run.device).requires_grad_(False)
    going = True
    while going:
        x0, rows, ends, time_ids = data.batch(run.recipe["distill_styles"][1])
        target.load_state_dict(average.weights)
        with run.autocast():
            states, pooled = text(rows, ends)
            loss = consistency_step(run, lora.on(student), guide, target.on(student), x0, states, pooled, time_ids)
        optimizer_step(loss, optimizer, list(lora.parameters()), progress.rate(1e-3))
        average.update(lora)
        shipped.update(lora)
        going = progress.going(loss.detach())
    lora.load_state_dict(shipped.weights)
