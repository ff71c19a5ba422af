"""What is shipped: the weights as f16 safetensors in diffusers' layout, beside their configurations."""
import json
import math
import os
import random
import shutil
import struct

import torch

import networks
import renderer
import scenes
from models import load_autoencoder, load_classifier, load_denoiser
from styles import STYLES

DTYPES = {torch.float16: "F16", torch.float32: "F32", torch.int32: "I32"}


def write_safetensors(path, tensors, metadata=None):
    """The format is described at https://huggingface.co/docs/safetensors."""
    header, at, parts = {"__metadata__": metadata} if metadata else {}, 0, []
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        tensor = tensor.half() if tensor.is_floating_point() else tensor.to(torch.int32)
        data = bytes(tensor.view(-1).view(torch.uint8).numpy()) if tensor.numel() else b""
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def write_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(json.dumps(value, indent=2) + "\n")


def text_tensors(encoder, tokenizer):
    """The token table has the rows of `token_ids` and a last one, which stands for all other tokens."""
    tensors = dict(encoder.state_dict())
    tensors["text_model.embeddings.token_embedding.token_ids"] = torch.tensor(tokenizer.ids, dtype=torch.int32)
    return tensors


def text_config(config):
    return {"architectures": ["CLIPTextModelWithProjection" if "projection_dim" in config else "CLIPTextModel"], "model_type": "clip_text_model",
            "vocab_size": 49408, "max_position_embeddings": 77, "layer_norm_eps": 1e-5, "bos_token_id": 49406, "eos_token_id": 49407,
            "pad_token_id": 0 if "projection_dim" in config else 49407, **config}


def unet_config():
    depths = networks.UNET["transformer_layers_per_block"]
    kind = lambda way: ["CrossAttn" + way if depth else way for depth in depths]
    return {"_class_name": "UNet2DConditionModel", "sample_size": 32, "in_channels": 4, "out_channels": 4, **networks.UNET,
            "transformer_layers_per_block": [max(1, depth) for depth in depths],
            "down_block_types": kind("DownBlock2D"), "up_block_types": kind("UpBlock2D")[::-1], "mid_block_type": "UNetMidBlock2DCrossAttn",
            "addition_embed_type": "text_time", "use_linear_projection": True, "flip_sin_to_cos": True, "freq_shift": 0,
            "act_fn": "silu", "norm_eps": 1e-5, "downsample_padding": 1, "center_input_sample": False, "upcast_attention": False}


def vae_config(scale):
    levels = len(networks.VAE["block_out_channels"])
    return {"_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": 256, "act_fn": "silu",
            "scaling_factor": scale, "force_upcast": False, "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels, **networks.VAE}


def export_judge(run, folder):
    """The classifier, what its numbers mean, prompts of combinations that the model has not seen, and drawings of some."""
    rng = random.Random(2026)
    chosen = [scenes.random_scene(rng, reserved=True) for _ in range(200)]
    prompts = [{"prompt": scenes.caption(scene, rng, plain_words=True), **scenes.facts(scene)} for scene in chosen]
    write_safetensors(os.path.join(folder, "judge.safetensors"), load_classifier(run).state_dict())
    write_json(os.path.join(folder, "labels.json"), {"kinds": scenes.KINDS, "colors": list(scenes.COLORS), "positions": scenes.POSITIONS,
                                                     "places": scenes.PLACES, "times": scenes.TIMES, "styles": scenes.STYLES})
    with open(os.path.join(folder, "prompts.json"), "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(p) for p in prompts) + "\n]\n")
    renderer.write_png(os.path.join(folder, "drawings.png"), renderer.render(chosen[:16], run.device))


def export(run):
    """Writes `shipped/` in the directory of work: demo/ (the model), styles/, upscaler and the judge."""
    root = run.path("shipped")
    shutil.rmtree(root, ignore_errors=True)
    model = os.path.join(root, "demo")
    distilled = os.path.exists(run.path("distilled.pt"))
    unet, text = load_denoiser(run, "distilled" if distilled else "denoiser")
    vae, scale = load_autoencoder(run)
    weights = "diffusion_pytorch_model.safetensors"
    write_safetensors(os.path.join(model, "unet", weights), unet.state_dict())
    write_json(os.path.join(model, "unet", "config.json"), unet_config())
    write_safetensors(os.path.join(model, "vae", weights), vae.state_dict())
    write_json(os.path.join(model, "vae", "config.json"), vae_config(scale))
    for folder, encoder, config in (("text_encoder", text.one, networks.TEXT_1), ("text_encoder_2", text.two, networks.TEXT_2)):
        write_safetensors(os.path.join(model, folder, "model.safetensors"), text_tensors(encoder, run.tokenizer))
        write_json(os.path.join(model, folder, "config.json"), text_config(config))
    write_json(os.path.join(model, "scheduler", "scheduler_config.json"), {
        "_class_name": "LCMScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "original_inference_steps": 50,
        "timestep_scaling": 10.0, "set_alpha_to_one": True, "clip_sample": False, "steps_offset": 1})
    write_json(os.path.join(model, "model_index.json"), {
        "_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True, "scheduler": ["diffusers", "LCMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]})
    for style in STYLES:
        if os.path.exists(run.path(f"style_{style}.pt")):
            write_safetensors(os.path.join(root, "styles", style + ".safetensors"), run.load("style_" + style)["weights"])
    if os.path.exists(run.path("upscaler.pt")):
        write_safetensors(os.path.join(root, "upscaler.safetensors"), run.load("upscaler")["weights"])
    if os.path.exists(run.path("classifier.pt")):
        export_judge(run, os.path.join(root, "judge"))
    size = sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(root) for name in names)
    print(f"{root}: {math.ceil(size / 1e4) / 100} MB")
