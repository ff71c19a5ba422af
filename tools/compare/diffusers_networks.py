"""The networks of a family with random weights, made where they are used and in the precision of the computation."""
import contextlib
import gc
from dataclasses import dataclass, replace

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from settings import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Networks:
    """What a pipeline of diffusers holds, less its tokenizers and its scheduler."""

    text_encoders: list
    unet: UNet2DConditionModel
    vae: AutoencoderKL

    def to(self, device):
        for network in (*self.text_encoders, self.unet, self.vae):
            network.to(device)


@contextlib.contextmanager
def creating(device, dtype):
    """Within it new weights are `dtype`s on `device`: no copy in fp32 on the host, which SDXL would need 14 GiB for."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    # As a context torch.device needs PyTorch 2; the host is where weights are made anyway.
    place = contextlib.nullcontext() if device == "cpu" else torch.device(device)
    try:
        with place:
            yield
    finally:
        torch.set_default_dtype(previous)


def text_encoders(configs):
    """CLIP's text models; a second one, as SDXL has it, projects its pooled state."""
    classes = (CLIPTextModel, CLIPTextModelWithProjection)
    return [network(CLIPTextConfig(**config)) for network, config in zip(classes, configs)]


def frozen(network):
    """Gradients off here, too: compiled code looks at it."""
    return network.eval().requires_grad_(False)


def build_networks(config, device, dtype):
    """config: a value of published_configs.PUBLISHED; dtype: a key of DTYPES."""
    kind = DTYPES[dtype]
    with creating(device, kind):
        texts = text_encoders(config["text_encoders"])
        unet = UNet2DConditionModel(**config["unet"])
        vae = AutoencoderKL(**config["vae"])
    for convolutional in (unet, vae):
        convolutional.to(memory_format=torch.channels_last)
    # transformers may choose a precision of its own.
    return Networks([frozen(text.to(device=device, dtype=kind)) for text in texts], frozen(unet), frozen(vae))


def prepare_device(settings):
    """Sets what holds for the whole process, and returns the settings with the number of threads that both are to use."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UserError("PyTorch finds no CUDA device; --device cpu compares on the processor")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    # PyTorch lets convolutions in fp32 round to TF32; Dream Lab's do not.
    torch.backends.cudnn.allow_tf32 = False
    return replace(settings, threads=torch.get_num_threads())


def free_cached_memory():
    """Gives the device's memory that PyTorch keeps for later back to the other program."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
