"""The networks of a run, from what its stages have saved, and pictures that they make."""
import array

import torch

import diffusion
import networks
from tokens import LENGTH


def padded(tokens, device):
    """[(rows, end)] of a tokenizer as int16 tensors: rows [N, 77], -1 where there are no more, and ends [N]."""
    flat = array.array("h")
    for rows, _ in tokens:
        flat.extend(rows)
        flat.extend([-1] * (LENGTH - len(rows)))
    rows = torch.frombuffer(flat, dtype=torch.int16).view(-1, LENGTH).clone()
    return rows.to(device), torch.tensor([end for _, end in tokens], dtype=torch.int16, device=device)


class TextPair(torch.nn.Module):
    """Both text encoders: states side by side, the second one's projection."""
    def __init__(self, tokenizer):
        super().__init__()
        self.one = networks.TextEncoder(networks.TEXT_1, tokenizer.rows)
        self.two = networks.TextEncoder(networks.TEXT_2, tokenizer.rows)
        self.end, self.zero = tokenizer.row[49407], tokenizer.row[0]

    def forward(self, rows, ends):
        padding = rows < 0
        first, _ = self.one(torch.where(padding, torch.full_like(rows, self.end), rows), ends)
        second, pooled = self.two(torch.where(padding, torch.full_like(rows, self.zero), rows), ends)
        return torch.cat([first, second], 2), pooled


def load_autoencoder(run):
    saved = run.load("autoencoder")
    vae = networks.Autoencoder(networks.VAE).to(run.device)
    vae.load_state_dict({k: v.float() for k, v in saved["weights"].items()})
    return vae.eval().requires_grad_(False), saved["scale"]


def load_denoiser(run, name="denoiser"):
    saved = run.load(name)
    unet, text = networks.UNet(networks.UNET).to(run.device), TextPair(run.tokenizer).to(run.device)
    unet.load_state_dict({k: v.float() for k, v in saved["unet"].items()})
    text.load_state_dict({k: v.float() for k, v in (saved if "text" in saved else run.load("denoiser"))["text"].items()})
    return unet, text.eval().requires_grad_(False)


def load_classifier(run):
    classifier = networks.Classifier().to(run.device)
    classifier.load_state_dict({k: v.float() for k, v in run.load("classifier")["weights"].items()})
    return classifier.eval().requires_grad_(False)


class Painter:
    """A diffusion model of the run ("denoiser" or "distilled") with its text encoders and autoencoder."""
    def __init__(self, run, name):
        self.run, self.sampler = run, diffusion.sample_lcm if name == "distilled" else diffusion.sample_ddim
        self.unet, self.text = load_denoiser(run, name)
        self.vae, self.scale = load_autoencoder(run)

    def paint(self, texts, size=256, batch=128):
        """Pictures [N, 3, size, size] in 0..1 of texts, so many at once."""
        return torch.cat([self._paint(texts[i:i + batch], size, seed=i) for i in range(0, len(texts), batch)])

    def _paint(self, texts, size, seed):
        generator = torch.Generator(self.run.device).manual_seed(seed)
        rows, ends = padded([self.run.tokenizer(text) for text in texts], self.run.device)
        with torch.no_grad(), self.run.autocast():
            states, pooled = self.text(rows.long(), ends.long())
            time_ids = torch.tensor([[size, size, 0, 0, size, size]], device=self.run.device, dtype=torch.float32).repeat(len(texts), 1)
            latents = self.sampler(self.unet, self.run.schedule, (len(texts), 4, size // 8, size // 8), states, pooled, time_ids, generator)
            return (self.vae.decode(latents / self.scale).float() / 2 + 0.5).clamp(0, 1)
