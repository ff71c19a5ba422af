"""Going on from the shipped model: its weights in the directory of work, as the stages would have left them."""
import json
import os
import struct

import torch

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TYPES = {"F16": torch.float16, "F32": torch.float32, "I32": torch.int32}


def read_safetensors(*path):
    with open(os.path.join(ROOT, *path), "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), bytearray(file.read())
    header.pop("__metadata__", None)
    return {name: torch.frombuffer(data, dtype=TYPES[entry["dtype"]], offset=entry["data_offsets"][0],
                                   count=torch.Size(entry["shape"]).numel()).view(entry["shape"])
            for name, entry in header.items()}


def resume(run):
    """The distilled UNet stands for the diffusion model, too, which is not shipped; `denoiser` makes it one again."""
    model, weights = ("assets", "models", "demo"), "diffusion_pytorch_model.safetensors"
    with open(os.path.join(ROOT, *model, "vae", "config.json")) as file:
        scale = json.load(file)["scaling_factor"]
    unet, text = read_safetensors(*model, "unet", weights), {}
    for prefix, folder in (("one", "text_encoder"), ("two", "text_encoder_2")):
        tensors = read_safetensors(*model, folder, "model.safetensors")
        ids = tensors.pop("text_model.embeddings.token_embedding.token_ids").tolist()
        if ids != run.tokenizer.ids:
            raise SystemExit("the captions' words have changed since the shipped model was trained: begin with `denoiser`")
        text.update({f"{prefix}.{name}": tensor for name, tensor in tensors.items()})
    run.save("autoencoder", weights=read_safetensors(*model, "vae", weights), scale=scale)
    run.save("denoiser", unet=unet, text=text)
    run.save("distilled", unet=unet)
    run.save("classifier", weights=read_safetensors("tests", "demo", "data", "judge.safetensors"))
