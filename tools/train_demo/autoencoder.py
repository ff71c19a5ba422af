"""The autoencoder, trained on renderings of all styles."""
import math
import random

import torch
from torch.nn import functional as F

import networks
import renderer
from data import picture_pool
from run import Average, Progress, optimizer_step


def edges(x):
    return torch.cat([(x[..., 1:, :-1] - x[..., :-1, :-1]), (x[..., :-1, 1:] - x[..., :-1, :-1])], 1)


def train(run):
    pictures, _ = picture_pool(run, run.recipe["pictures"], {"papercut": 0.1, "line": 0.1, "pixel": 0.1, "plain": 0.7}, 21)
    vae = networks.Autoencoder(networks.VAE).to(run.device, memory_format=torch.channels_last)
    encode, decode = run.compiled(vae.encoder), run.compiled(vae.decoder)
    optimizer = torch.optim.AdamW(vae.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    average, progress, size = Average(vae, 0.998), Progress(run, "autoencoder"), run.recipe["autoencoder"][1]
    going = True
    while going:
        # Parts first, which is four times as fast; whole pictures at the end.
        side = 128 if progress.share() < 0.75 else 256
        count = size if side == 256 else 2 * size
        at = [random.randrange(257 - side) for _ in range(2)]
        i = torch.randint(len(pictures), (count,), device=run.device)
        x = (pictures[i, :, at[0]:at[0] + side, at[1]:at[1] + side].float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        if random.random() < 0.5:
            x = x.flip(3)
        with run.autocast():
            mean, log_variance = vae.quant_conv(encode(x)).float().chunk(2, 1)
            log_variance = log_variance.clamp(-30, 20)
            z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            y = decode(vae.post_quant_conv(z)).float()
        kl = 0.5 * (mean ** 2 + log_variance.exp() - 1 - log_variance).mean()
        smaller = F.avg_pool2d(x - y, 4)
        loss = (x - y).abs().mean() + (edges(x) - edges(y)).abs().mean() + smaller.abs().mean() + 1e-4 * kl
        optimizer_step(loss, optimizer, list(vae.parameters()), progress.rate(1.5e-3))
        average.update(vae)
        going = progress.going(loss.detach())
    vae.load_state_dict(average.weights)
    with torch.no_grad(), run.autocast():
        latents = torch.cat([vae.encode(pictures[i:i + 64].float() / 127.5 - 1)[0].float() for i in range(0, min(1024, len(pictures)), 64)])
        samples = pictures[:16].float() / 127.5 - 1
        copies = vae.decode(vae.encode(samples)[0]).float()
    error = ((copies - samples) / 2).clamp(-1, 1)
    print(f"autoencoder: latents' deviation {latents.std().item():.3f}, means {latents.mean((0, 2, 3)).tolist()}, "
          f"PSNR {-10 * math.log10((error ** 2).mean().item()):.2f} dB", flush=True)
    run.save("autoencoder", weights=vae.state_dict(), scale=1 / latents.std().item())
    renderer.write_png(run.path("autoencoder.png"), torch.cat([samples[:8], copies[:8]]) / 2 + 0.5)
