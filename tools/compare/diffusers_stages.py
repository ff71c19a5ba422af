"""The stages of a picture with diffusers, each as a function to time.

They do what StableDiffusionPipeline and StableDiffusionXLPipeline do, less their checks, callbacks and progress bars.
"""
import io
import statistics
import time
from dataclasses import dataclass

import torch
from diffusers import LCMScheduler
from PIL import Image

from peak_memory import process_peak_memory_mib, reset_process_peak_memory
from settings import UserError

# CLIP's begin and end of text, some words between them, and the end again up to the length of the encoder.
BEGIN, END, LENGTH = 49406, 49407, 77
WORDS = range(1000, 1013)
LATENT_CHANNELS, LATENT_SCALE = 4, 8
TIMESTEP = 999  # of the pass that is timed by itself
CUDNN_TRIALS = 3
# On a GPU a call may be recorded in its second run and repeated from the third.
WARM_UPS = {"cuda": 3, "cpu": 1}


@dataclass
class Conditioning:
    states: torch.Tensor  # [images, 77, channels]
    added: dict | None  # of SDXL: "text_embeds" [images, 1280] and "time_ids" [images, 6]


class DiffusersStages:
    """unet, decode: the networks' own calls, or compiled ones."""

    def __init__(self, networks, settings, unet, decode):
        self.networks, self.settings, self.unet_call, self.decode_call = networks, settings, unet, decode
        self.scheduler = LCMScheduler()
        self.dtype = networks.unet.dtype
        with torch.inference_mode():
            self.latents = self.random_latents()
            self.conditioning = self.condition()
            self.timestep = torch.tensor(TIMESTEP, device=settings.device)
            self.pixels = None  # of the last picture: [batch, height, width, 3], uint8

    # --- the stages ---

    def text(self):
        self.encode(WORDS)

    def unet(self):
        self.predict_noise(self.latents, self.timestep, self.conditioning)

    def vae_decode(self):
        self.decode(self.latents[:1])

    def image(self):
        self.paint()
        self.png()

    def png(self):
        """The part of `image` that is Pillow's, with its default compression."""
        for pixels in self.pixels:
            Image.fromarray(pixels).save(io.BytesIO(), "PNG")

    # --- what they are made of ---

    def random_latents(self):
        settings = self.settings
        shape = (settings.batch, LATENT_CHANNELS, settings.height // LATENT_SCALE, settings.width // LATENT_SCALE)
        return torch.randn(shape, device=settings.device, dtype=self.dtype)

    def encode(self, words):
        """Hidden states [1, 77, channels] of one prompt and, of SDXL, its pooled state [1, 1280], else None."""
        ids = [BEGIN, *words]
        ids = torch.tensor([ids + [END] * (LENGTH - len(ids))], device=self.settings.device)
        if len(self.networks.text_encoders) == 1:
            return self.networks.text_encoders[0](ids)[0], None
        outputs = [encoder(ids, output_hidden_states=True) for encoder in self.networks.text_encoders]
        return torch.cat([output.hidden_states[-2] for output in outputs], dim=-1), outputs[-1][0]

    def condition(self):
        """What the UNet is told of the prompt, for every image of a pass: those of the negative prompt first."""
        prompts = [self.encode(WORDS)]
        if self.settings.guided:
            prompts.insert(0, self.encode_negative(prompts[0]))
        batch = self.settings.batch
        states = torch.cat([states.repeat(batch, 1, 1) for states, _ in prompts])
        if prompts[0][1] is None:
            return Conditioning(states, None)
        pooled = torch.cat([pooled.repeat(batch, 1) for _, pooled in prompts])
        return Conditioning(states, {"text_embeds": pooled, "time_ids": self.time_ids(len(states))})

    def encode_negative(self, prompt):
        """Of the empty prompt: zeros for SDXL, which was trained so."""
        states, pooled = prompt
        return self.encode([]) if pooled is None else (torch.zeros_like(states), torch.zeros_like(pooled))

    def time_ids(self, images):
        """SDXL's size conditions [images, 6]: original size, crop, target size."""
        size = [self.settings.height, self.settings.width]
        return torch.tensor([size + [0, 0] + size] * images, device=self.settings.device, dtype=self.dtype)

    def predict_noise(self, latents, timestep, conditioning):
        """One pass of the UNet and, of the two halves of a guided pass, the guided noise [batch, 4, h, w]."""
        sample = torch.cat([latents] * 2) if self.settings.guided else latents
        noise = self.unet_call(
            sample.contiguous(memory_format=torch.channels_last),
            timestep,
            encoder_hidden_states=conditioning.states,
            added_cond_kwargs=conditioning.added,
            return_dict=False,
        )[0]
        if not self.settings.guided:
            return noise
        negative, positive = noise.chunk(2)
        return negative + self.settings.guidance * (positive - negative)

    def decode(self, latents):
        """Pixels [images, height, width, 3] as uint8 on the host. Rounded on the device: less to transfer."""
        raw = (latents / self.networks.vae.config.scaling_factor).contiguous(memory_format=torch.channels_last)
        pictures = self.decode_call(raw, return_dict=False)[0]
        pixels = ((pictures / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def paint(self):
        """From token ids to `pixels`."""
        steps, conditioning, latents = self.settings.steps, self.condition(), self.random_latents()
        # The schedule that the steps are taken from must have as many.
        original_steps = max(steps, self.scheduler.config.original_inference_steps)
        self.scheduler.set_timesteps(steps, device=self.settings.device, original_inference_steps=original_steps)
        for timestep in self.scheduler.timesteps:
            noise = self.predict_noise(latents, timestep, conditioning)
            latents = self.scheduler.step(noise, timestep, latents, return_dict=False)[0]
        self.pixels = self.decode(latents)

    # --- measuring ---

    @torch.inference_mode()
    def time_ms(self, work):
        self.synchronize()
        start = time.perf_counter()
        work()
        self.synchronize()
        return (time.perf_counter() - start) * 1e3

    def synchronize(self):
        if self.settings.device == "cuda":
            torch.cuda.synchronize()

    def time_stage(self, name):
        """Every timed run, ms, after some that do not count."""
        work = getattr(self, name)
        for _ in range(WARM_UPS[self.settings.device]):
            self.time_ms(work)
        return [self.time_ms(work) for _ in range(self.settings.runs(name))]

    def measure(self):
        """One round: {"times_ms": {stage: [ms, ...]}, "memory_mib": {kind: peak}}."""
        self.reset_peak_memory()
        times = {name: self.time_stage(name) for name in self.settings.stages}
        if "image" in times:
            times["png"] = self.time_stage("png")
        return {"times_ms": times, "memory_mib": self.peak_memory_mib()}

    def reset_peak_memory(self):
        if self.settings.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            reset_process_peak_memory()

    def peak_memory_mib(self):
        if self.settings.device == "cpu":
            return {"resident": process_peak_memory_mib()}
        mib = 2**20
        return {"reserved": torch.cuda.max_memory_reserved() / mib, "allocated": torch.cuda.max_memory_allocated() / mib}


def eager_stages(networks, settings):
    return DiffusersStages(networks, settings, networks.unet, networks.vae.decode)


def compiled_stages(networks, settings, mode):
    """The same with UNet and VAE decoder compiled, and the seconds that the first run of every stage took."""
    if not hasattr(torch, "compile"):
        raise UserError(f"--compile needs PyTorch 2; this is {torch.__version__}")
    # Not dynamic: the decoder sees one picture by itself and then a batch, each of which gets code of its own.
    options = {"mode": mode, "fullgraph": True, "dynamic": False}
    unet, decode = torch.compile(networks.unet, **options), torch.compile(networks.vae.decode, **options)
    stages = DiffusersStages(networks, settings, unet, decode)
    return stages, sum(stages.time_ms(getattr(stages, name)) for name in settings.stages) / 1e3


def choose_cudnn_benchmark(stages):
    """Lets cuDNN try its algorithms, or not, whichever makes a picture faster; true: it tries them."""

    def picture_ms(benchmark):
        torch.backends.cudnn.benchmark = benchmark
        times = [stages.time_ms(stages.paint) for _ in range(1 + CUDNN_TRIALS)]
        return statistics.median(times[1:])

    without, with_benchmark = picture_ms(False), picture_ms(True)
    torch.backends.cudnn.benchmark = with_benchmark < without
    return torch.backends.cudnn.benchmark
