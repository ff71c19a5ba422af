"""UNet and text encoders: first as a diffusion model, then distilled to a consistency model ("Latent Consistency
Models", Luo et al. 2023)."""
import os

import torch
from torch.nn import functional as F

import diffusion
import networks
from data import LatentsOfSizes
from models import TextPair, load_denoiser
from run import Average, Progress, optimizer_step


def train(run):
    data = LatentsOfSizes(run)
    unet, text = networks.UNet(networks.UNET).to(run.device, memory_format=torch.channels_last), TextPair(run.tokenizer).to(run.device)
    predict = run.compiled(unet)
    everything = torch.nn.ModuleList([unet, text])
    if os.path.exists(run.path("denoiser.pt")):  # goes on from there
        saved = run.load("denoiser")
        unet.load_state_dict({k: v.float() for k, v in saved["unet"].items()})
        text.load_state_dict({k: v.float() for k, v in saved["text"].items()})
    parameters = list(everything.parameters())
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.01)
    average, progress, size = Average(everything, 0.9995), Progress(run, "denoiser"), run.recipe["denoiser"][1]
    going = True
    while going:
        (x0, rows, ends, time_ids), usual = data.batch(size)
        # Late times decide what is where, and are drawn more often.
        t = (torch.rand(len(x0), device=run.device) ** 0.75 * diffusion.STEPS).long().clamp(max=diffusion.STEPS - 1)
        noise = torch.randn_like(x0)
        with run.autocast():
            states, pooled = text(rows, ends)
            kept = (torch.rand(len(x0), device=run.device) > 0.1).to(states.dtype)
            network = predict if usual else unet  # compiled for the usual size alone
            v = network(run.schedule.noised(x0, noise, t), t, states * kept[:, None, None], pooled * kept[:, None], time_ids).float()
        loss = F.mse_loss(v, run.schedule.velocity(x0, noise, t))
        optimizer_step(loss, optimizer, parameters, progress.rate(1.5e-3))
        average.update(everything)
        going = progress.going(loss.detach())
    everything.load_state_dict(average.weights)
    run.save("denoiser", unet=unet.state_dict(), text=text.state_dict())


def consistency_step(run, student, teacher, average_predict, x0, states, pooled, time_ids):
    """The loss of LCM's distillation for a batch of clean latents."""
    size, device = len(x0), x0.device
    index = torch.randint(1, 51, (size,), device=device)
    t = index * 20 - 1
    before = ((index - 1) * 20 - 1)
    x = run.schedule.noised(x0, torch.randn_like(x0), t)
    with torch.no_grad():
        v = diffusion.guided(teacher, x, t, states, pooled, time_ids, diffusion.GUIDANCE)
        earlier = run.schedule.ddim(x, v, t, before)
        target = average_predict(earlier, before.clamp(0), states, pooled, time_ids).float()
        target = run.schedule.consistent(earlier, target, before.clamp(0))
        target = torch.where((before < 0)[:, None, None, None], earlier, target)
    guess = run.schedule.consistent(x, student(x, t, states, pooled, time_ids).float(), t)
    return (((guess - target) ** 2 + 1e-4) ** 0.5 - 1e-2).mean()


def distill(run):
    data = LatentsOfSizes(run)
    unet, text = load_denoiser(run)
    student, average_unet = (networks.UNet(networks.UNET).to(run.device, memory_format=torch.channels_last) for _ in range(2))
    for module in (student, average_unet):
        module.load_state_dict(unet.state_dict())
    unet.to(memory_format=torch.channels_last).requires_grad_(False)
    average_unet.requires_grad_(False)
    teacher, predict, target = run.compiled(unet), run.compiled(student), run.compiled(average_unet)
    parameters = list(student.parameters())
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.0)
    shipped, progress, size = Average(student, 0.999), Progress(run, "distill"), run.recipe["distill"][1]
    mine, theirs = list(average_unet.parameters()), parameters
    going = True
    while going:
        (x0, rows, ends, time_ids), usual = data.batch(size)
        networks_now = (predict, teacher, target) if usual else (student, unet, average_unet)
        with run.autocast():
            with torch.no_grad():
                states, pooled = text(rows, ends)
            loss = consistency_step(run, *networks_now, x0, states, pooled, time_ids)
        optimizer_step(loss, optimizer, parameters, progress.rate(3e-4))
        with torch.no_grad():
            torch._foreach_mul_(mine, 0.95)
            torch._foreach_add_(mine, [p.detach() for p in theirs], alpha=0.05)
        shipped.update(student)
        going = progress.going(loss.detach())
    run.save("distilled", unet=shipped.weights)
