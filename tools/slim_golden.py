#!/usr/bin/env python3
"""Makes a small folder of golden records out of a full one.

    tools/slim_golden.py FULL_FOLDER OUT_FOLDER

Text encoders, their records, and everything that is not about a UNet stay as they are. Every UNet and ControlNet gets a quarter of
its channels: its weights are corners of the full ones, scaled where that cuts the number of inputs, so that the same structure takes
a sixteenth of the space; all models share the VAE of tiny-sd15. What depends on those networks is computed anew by diffusers in
f32, with the inputs of the full records.

Needs diffusers 0.31 and torch (the full records were made with 0.31.0 on torch 1.13; with CUT = 1 and the full
configurations, this script reproduces them bit for bit). Python is no part of the product; this script tells where the numbers in tests/golden come from.
"""
import copy
import hashlib
import json
import math
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.models.controlnet import ControlNetModel
import diffusers.schedulers as schedulers

CUT = 4  # the full networks have this many times the channels
DTYPES = {"F32": torch.float32, "F16": torch.float16, "F64": torch.float64, "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8}
NAMES = {v: k for k, v in DTYPES.items()}
NUMPY_NAMES = {"F32": "float32", "F16": "float16", "F64": "float64", "I64": "int64", "I32": "int32", "U8": "uint8"}
MODELS = ["tiny-sd15", "tiny-sd15-inpaint", "tiny-sd2", "tiny-sdxl", "tiny-refiner"]
UNET_PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."
KEPT_WHOLE = [  # copied as they are
    "emphasis.json", "esrgan.safetensors", "philox_rng.safetensors", "schedulers.json", "schedulers.safetensors", "taesd.safetensors",
    "tokenizer.json", "torch_cpu_rng.safetensors", "torch_cpu_rng_scalar.safetensors", "models/tiny-esrgan-old.safetensors",
    "models/tiny-esrgan.pth", "models/tiny-esrgan.safetensors", "models/tiny-taesd", "tiny-sd15/vae.safetensors",
    "tiny-sd15/text_encoder.safetensors", "tiny-sd2/text_encoder.safetensors", "tiny-sdxl/text_encoder.safetensors",
    "tiny-refiner/text_encoder.safetensors"]
LARGEST_DRAW = 1 << 17  # elements; larger GPU draws are left out, with those that follow them in the same sequence

_baddbmm = torch.baddbmm
# With beta = 0, torch 1.13 reads uninitialised memory for small matrices.
torch.baddbmm = lambda x, a, b, beta=1, alpha=1: (_baddbmm(torch.zeros_like(x), a, b, alpha=alpha) if beta == 0
                                                   else _baddbmm(x, a, b, beta=beta, alpha=alpha))


# --- files ---
def load(path):
    data = Path(path).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = bytearray(data[8 + length + begin:8 + length + end])
        tensor = torch.frombuffer(raw, dtype=DTYPES[entry["dtype"]]) if raw else torch.empty(0, dtype=DTYPES[entry["dtype"]])
        tensors[name] = tensor.reshape(entry["shape"]).clone()
    return tensors


def save(path, tensors):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, blobs, at = {}, [], 0
    for name in order:
        blob = tensors[name].detach().contiguous().numpy().tobytes()
        header[name] = {"dtype": NAMES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(blobs))


def load_json(path):
    return json.loads(Path(path).read_text())


def save_json(path, value):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(value, indent=1))


# --- slimming ---
def slim_config(config):
    config = copy.deepcopy(config)
    config["block_out_channels"] = [c // CUT for c in config["block_out_channels"]]
    config["norm_num_groups"] = 4
    if config["attention_head_dim"] == 8:  # of channels 8: heads of one channel would test little
        config["attention_head_dim"] = 2
    return config


def slim_tensor(name, full, shape):
    """The corner of `full` that has `shape`; GEGLU's two halves each give theirs."""
    if tuple(full.shape) == tuple(shape):
        return full.clone()
    if ".ff.net.0.proj." in name:
        halves = full.chunk(2)
        inner = shape[0] // 2
        part = torch.cat([half[:inner] for half in halves])
    else:
        part = full[:shape[0]]
    if full.dim() > 1:
        part = part[:, :shape[1]]
        if shape[1] < full.shape[1]:
            part = part * math.sqrt(CUT)  # keeps the variance of sums over fewer inputs; exact in f16
    return part.contiguous().clone()


def slim_module(cls, config, full):
    module = cls.from_config(config)
    weights = {name: slim_tensor(name, full[name], value.shape) for name, value in module.state_dict().items()}
    module.load_state_dict({name: value.float() for name, value in weights.items()})
    return module.eval(), weights


def unet_names(single, config):
    """{name in a single file: diffusers' name}, both without prefixes."""
    keys = [key for key in single if key.startswith(UNET_PREFIX)]
    numbered = {key: torch.tensor(i) for i, key in enumerate(keys)}
    back = convert_ldm_unet_checkpoint(dict(numbered), config)
    return {keys[int(number)][len(UNET_PREFIX):]: name for name, number in back.items()}


# --- records ---
@torch.no_grad()
def unet_pass(unet, record, prefix="", **more):
    added = {k: record[prefix + k] for k in ("text_embeds", "time_ids") if prefix + k in record}
    return unet(record[prefix + "sample"], record[prefix + "timestep"], record[prefix + "encoder_hidden_states"],
                added_cond_kwargs=added or None, **more).sample


def unet_record(unet, full):
    record = {}
    for case in sorted({name.split("/")[0] for name in full}):
        inputs = {k: v for k, v in full.items() if k.startswith(case + "/") and "/tap/" not in k and not k.endswith("/out")}
        wanted = [k.split("/tap/")[1] for k in full if k.startswith(case + "/tap/")]
        seen, hooks = {}, []

        def keep(path):
            def hook(_module, _inputs, output):
                seen[path] = output
            return hook

        for path in {tap.split(".res.")[0] for tap in wanted}:
            hooks.append(unet.get_submodule(path).register_forward_hook(keep(path)))
        record.update(inputs)
        record[case + "/out"] = unet_pass(unet, inputs, case + "/")
        for hook in hooks:
            hook.remove()
        for tap in wanted:
            path, _, index = tap.partition(".res.")
            value = seen[path]
            if isinstance(value, tuple):
                value = value[1][int(index)] if index else value[0]
            record[f"{case}/tap/{tap}"] = value
    return record


def lcm_cond_record(unet_config, weights, full):
    weight = full["time_embedding.cond_proj.weight"]
    config = dict(unet_config, time_cond_proj_dim=weight.shape[1])
    unet = UNet2DConditionModel.from_config(config)
    slim = weight[:unet_config["block_out_channels"][0]].contiguous()
    unet.load_state_dict({k: v.float() for k, v in dict(weights, **{"time_embedding.cond_proj.weight": slim}).items()})
    record = {k: v for k, v in full.items() if not k.endswith("/out")}
    record["time_embedding.cond_proj.weight"] = slim
    for name in full:
        if name.endswith("/out"):
            record[name] = unet_pass(unet.eval(), full, timestep_cond=full[name[:-3] + "timestep_cond"])
    return record


@torch.no_grad()
def layer_record(unet, full, with_vae):
    record = {}
    for name in sorted({k.rsplit("/", 1)[0] for k in full}):
        if name.startswith("vae/") and not with_vae:
            continue
        tensors = {k.rsplit("/", 1)[1]: v for k, v in full.items() if k.rsplit("/", 1)[0] == name}
        if not name.startswith("unet/"):
            record.update({f"{name}/{k}": v for k, v in tensors.items()})
            continue
        path, _, size = name[len("unet/"):].partition("@size")
        inputs = {k: v for k, v in tensors.items() if k != "out"}
        if "x" in inputs and path != "conv_in":
            x = inputs["x"]
            inputs["x"] = (x[:, :x.shape[1] // CUT] if x.dim() == 4 else x[..., :x.shape[-1] // CUT]).contiguous()
        if "temb" in inputs:
            inputs["temb"] = inputs["temb"][:, :inputs["temb"].shape[1] // CUT].contiguous()
        if path == "time_proj+time_embedding":
            out = unet.time_embedding(unet.time_proj(inputs["timesteps"]))
        else:
            module = unet.get_submodule(path)
            more = {}
            if "encoder_hidden_states" in inputs:
                more["encoder_hidden_states"] = inputs["encoder_hidden_states"]
            if size:
                more["output_size"] = tuple(int(n) for n in size.split("x"))
            out = module(inputs["x"], inputs["temb"]) if "temb" in inputs else module(inputs["x"], **more)
            out = out.sample if hasattr(out, "sample") else out
        record.update({f"{name}/{k}": v for k, v in inputs.items()})
        record[f"{name}/out"] = out
    return record


@torch.no_grad()
def controlnet_record(unet, control, full):
    record = {k: v for k, v in full.items() if "/" not in k and k != "cond_embedding"}
    record["cond_embedding"] = control.controlnet_cond_embedding(full["controlnet_cond"])
    added = {k: full[k] for k in ("text_embeds", "time_ids") if k in full}
    for scale in sorted({k.split("/")[0] for k in full if "/" in k}):
        down, mid = control(full["sample"], full["timestep"], full["encoder_hidden_states"], full["controlnet_cond"],
                            float(scale[len("scale"):]), added_cond_kwargs=added or None, return_dict=False)
        if f"{scale}/mid_res" in full:
            record.update({f"{scale}/down_res.{i}": value for i, value in enumerate(down)})
            record[f"{scale}/mid_res"] = mid
        record[f"{scale}/unet_out"] = unet_pass(unet, full, down_block_additional_residuals=down,
                                                 mid_block_additional_residual=mid)
    return record


def lora_modules(file, unet, ldm_names):
    """{stored module name: diffusers' module path in the UNet}"""
    paths = {name: module for name, module in unet.named_modules()}
    flat = {"lora_unet_" + name.replace(".", "_"): name for name in paths}
    for ldm, name in ldm_names.items():
        if ldm.endswith(".weight"):
            flat["lora_unet_" + ldm[:-len(".weight")].replace(".", "_")] = name[:-len(".weight")]
    found = {}
    for key in file:
        stored = key.split(".lora_")[0] if ".lora_" in key else key.rsplit(".", 1)[0]
        if stored in flat:
            found[stored] = flat[stored]
        elif stored.startswith("unet."):
            found[stored] = stored[len("unet."):]
            assert found[stored] in paths, stored
        else:
            assert not stored.startswith("lora_unet_"), stored
    return found


def slim_lora(file, modules, unet):
    slim = {}
    for key, value in file.items():
        stored = key.split(".lora_")[0] if ".lora_" in key else key.rsplit(".", 1)[0]
        if stored in modules and not key.endswith(".alpha"):
            weight = unet.get_submodule(modules[stored]).weight
            is_down = ".lora_down" in key or ".lora_A" in key
            if is_down:
                inputs = value.shape[1]
                value = value[:, :weight.shape[1]]
                value = value * math.sqrt(inputs // weight.shape[1])
            elif modules[stored].endswith("ff.net.0.proj"):
                value = torch.cat([half[:weight.shape[0] // 2] for half in value.chunk(2)])
            else:
                value = value[:weight.shape[0]]
            value = value.to(torch.float16).contiguous().clone()
        slim[key] = value
    return slim


def merged(unet, file, modules, strength):
    unet = copy.deepcopy(unet)
    for stored, path in modules.items():
        down = next(v for k, v in file.items() if k.startswith(stored + ".lora_") and (".lora_down" in k or ".lora_A" in k)).float()
        up = next(v for k, v in file.items() if k.startswith(stored + ".lora_") and (".lora_up" in k or ".lora_B" in k)).float()
        alpha = file.get(stored + ".alpha", torch.tensor(float(down.shape[0]))).float().item()
        weight = unet.get_submodule(path).weight
        change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        weight.data += strength * (alpha / down.shape[0]) * change
    return unet


class Draws:
    """Stands in for a scheduler's random numbers: gives the recorded ones."""

    def __init__(self, values):
        self.values, self.next = values, 0

    def __call__(self, shape, **_):
        value = self.values[self.next:self.next + 1]
        self.next += 1
        return value.reshape(shape)


@torch.no_grad()
def encode(vae, picture, noise):
    moments = vae.encode(picture).latent_dist
    return vae.config.scaling_factor * (moments.mean + moments.std * noise)


@torch.no_grad()
def pipeline_case(unet, vae, settings, full, with_image):
    scheduler = getattr(schedulers, settings["scheduler"]).from_config(settings["scheduler_config"])
    scheduler.set_timesteps(settings["steps"])
    first = len(scheduler.timesteps) - len(full["timesteps"])
    assert torch.equal(scheduler.timesteps[first:].float(), full["timesteps"])
    if hasattr(scheduler, "set_begin_index") and first:
        scheduler.set_begin_index(first)
    draws = Draws(full.get("step_noise"))
    sys.modules[type(scheduler).__module__].randn_tensor = draws

    record = {k: v for k, v in full.items() if k in ("noise", "posterior_noise", "step_noise", "timesteps", "prompt_embeds", "pooled",
                                                      "time_ids", "init_image", "mask_image", "mask", "masked_image")}
    noise = full.get("noise")
    kept = None
    if "masked_image" in full:
        record["masked_image_latents"] = encode(vae, full["masked_image"], full["posterior_noise"])
        latents = noise * scheduler.init_noise_sigma
    elif "init_image" in full:
        kept = record["init_latents"] = encode(vae, full["init_image"], full["posterior_noise"])
        latents = scheduler.add_noise(kept, noise, scheduler.timesteps[first:first + 1])
    elif "init_latents" in full:
        latents = record["init_latents"] = full["init_latents"]
    else:
        latents = noise * scheduler.init_noise_sigma

    guidance = settings["guidance"]
    added = {"text_embeds": full["pooled"], "time_ids": full["time_ids"]} if "pooled" in full else None
    trajectory, outputs, gaps = [latents], [], []
    for i, t in enumerate(scheduler.timesteps[first:]):
        x = scheduler.scale_model_input(torch.cat([latents] * 2) if guidance > 1 else latents, t)
        if "masked_image_latents" in record:
            rows = x.shape[0]
            x = torch.cat([x, full["mask"].expand(rows, -1, -1, -1), record["masked_image_latents"].expand(rows, -1, -1, -1)], 1)
        output = unet(x, t, full["prompt_embeds"], added_cond_kwargs=added).sample
        if guidance > 1:
            negative, positive = output.chunk(2)
            gaps.append((positive - negative).pow(2).mean().sqrt().item())
            output = negative + guidance * (positive - negative)
        outputs.append(output)
        latents = scheduler.step(output, t, latents).prev_sample
        if kept is not None and "mask" in full:
            remaining = scheduler.timesteps[first + i + 1:]
            back = scheduler.add_noise(kept, noise, remaining[:1]) if len(remaining) else kept
            latents = (1 - full["mask"]) * back + full["mask"] * latents
        trajectory.append(latents)
    record["traj"], record["model_output"] = torch.cat(trajectory), torch.cat(outputs)
    assert draws.next == (0 if draws.values is None else len(draws.values))

    image = vae.decode(latents / vae.config.scaling_factor).sample
    if with_image:
        record["image"] = image
    record["image_u8"] = torch.from_numpy(np.round((image / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8))
    record["fingerprint_f16"] = F.adaptive_avg_pool2d(latents, (8, 8)).half()
    record["fingerprint_bytes"] = torch.from_numpy(np.frombuffer(record["fingerprint_f16"].numpy().tobytes(), dtype=np.uint8).copy())
    settings = {k: v for k, v in settings.items() if k != "latents_f32_vs_f64unet_max_abs"}
    settings["latents_max_abs"] = latents.abs().max().item()
    settings["cond_minus_uncond_rms"] = sum(gaps) / len(gaps) if gaps else None
    return record, settings


def pipeline_record(unet, vae, full, settings):
    record, told = {}, {}
    for i, (case, entry) in enumerate(settings.items()):
        tensors = {k[len(case) + 1:]: v for k, v in full.items() if k.startswith(case + "/")}
        found, told[case] = pipeline_case(unet, vae, entry, tensors, with_image=i == 0)
        record.update({f"{case}/{k}": v for k, v in found.items()})
    return record, told


# --- the folder ---
class Slimmer:
    def __init__(self, full, out):
        self.full, self.out, self.remarks = full, out, {}

    def copy(self, name):
        (self.out / name).parent.mkdir(parents=True, exist_ok=True)
        if (self.full / name).is_dir():
            shutil.copytree(self.full / name, self.out / name, dirs_exist_ok=True)
        else:
            shutil.copy(self.full / name, self.out / name)

    def record(self, name, tensors):
        assert all(torch.isfinite(t.float()).all() for t in tensors.values()), name
        save(self.out / name, {k: v.float() if v.dtype == torch.float64 else v for k, v in tensors.items()})
        self.remarks[name] = "computed by diffusers with the UNet of a quarter of the channels"

    def gpu_draws(self):
        full = load(self.full / "cuda_rng.safetensors")
        kept = {}
        for name in full:
            group = name.rsplit("/", 1)[0]
            number = lambda n: int(n.rsplit("/", 1)[1].split("_")[0]) if n.startswith("seq/") else 0
            before = [n for n in full if n.rsplit("/", 1)[0] == group and number(n) <= number(name)] if name.startswith("seq/") else [name]
            if all(full[n].numel() < LARGEST_DRAW for n in before):
                kept[name] = full[name]
        save(self.out / "cuda_rng.safetensors", kept)
        self.remarks["cuda_rng.safetensors"] = "without the largest draws"

    def model(self, name):
        sidecar = self.full / f"models/{name}.config.json"
        directory = self.full / "models" / name
        config = load_json(sidecar)["unet"] if sidecar.exists() else load_json(directory / "unet/config.json")
        slim = slim_config(config)
        single_path = self.full / f"models/{name}.safetensors"
        ldm_names = {}
        if single_path.exists():
            single = load(single_path)
            ldm_names = unet_names(single, config)
            weights = {hf: single[UNET_PREFIX + ldm] for ldm, hf in ldm_names.items()}
        else:
            weights = load(directory / "unet/diffusion_pytorch_model.safetensors")
        unet, weights = slim_module(UNet2DConditionModel, slim, weights)
        if single_path.exists():
            self.single_file(name, single, ldm_names, weights)
            told = load_json(sidecar)
            told["unet"] = slim
            save_json(self.out / f"models/{name}.config.json", told)
        if directory.exists():
            self.directory(name, slim, weights)
        return unet, slim, weights, ldm_names

    def single_file(self, name, single, ldm_names, weights):
        for ldm, hf in ldm_names.items():
            single[UNET_PREFIX + ldm] = weights[hf]
        if name == "tiny-sd15":
            self.vae_tensors = {k: v for k, v in single.items() if k.startswith(VAE_PREFIX)}
            pickle = torch.load(self.full / f"models/{name}.ckpt")
            pickle["state_dict"] = {k: single[k] for k in pickle["state_dict"]}
            torch.save(pickle, self.out / f"models/{name}.ckpt")
        assert {k for k in single if k.startswith(VAE_PREFIX)} == set(self.vae_tensors)
        single.update(self.vae_tensors)
        save(self.out / f"models/{name}.safetensors", single)

    def directory(self, name, config, weights):
        self.copy(f"models/{name}")
        save_json(self.out / f"models/{name}/unet/config.json", config)
        save(self.out / f"models/{name}/unet/diffusion_pytorch_model.safetensors", weights)
        if (self.out / f"models/{name}/vae").exists():
            shutil.copy(self.full / "models/tiny-sd15/vae/diffusion_pytorch_model.safetensors",
                        self.out / f"models/{name}/vae/diffusion_pytorch_model.safetensors")

    def vae(self, name):
        sidecar = self.full / f"models/{name}.config.json"
        base = sidecar if sidecar.exists() else self.full / "models/tiny-sd15.config.json"
        vae = AutoencoderKL.from_config(load_json(base)["vae"])
        weights = load(self.full / "models/tiny-sd15/vae/diffusion_pytorch_model.safetensors")
        vae.load_state_dict({k: v.float() for k, v in weights.items()})
        return vae.eval()

    def loras(self, model, unet, ldm_names):
        path = f"{model}/lora.safetensors"
        if not (self.full / path).exists():
            return
        full = load(self.full / path)
        record = {k: v for k, v in full.items() if "unet_out" not in k and k != "base/out"}
        record["base/out"] = unet_pass(unet, full)
        for key in full:
            if "unet_out" not in key:
                continue
            kind = key.split("/")[0]
            file = load(self.full / f"models/{model}-lora-{kind}.safetensors")
            modules = lora_modules(file, unet, ldm_names)
            slim = slim_lora(file, modules, unet)
            save(self.out / f"models/{model}-lora-{kind}.safetensors", slim)
            record[key] = unet_pass(merged(unet, slim, modules, float(key.split("_scale")[1])), full)
        self.record(path, record)

    def controlnet(self, model, unet):
        path = f"{model}/controlnet.safetensors"
        if not (self.full / path).exists():
            return
        directory = f"models/{model}-controlnet"
        config = slim_config(load_json(self.full / directory / "config.json"))
        control, weights = slim_module(ControlNetModel, config, load(self.full / directory / "diffusion_pytorch_model.safetensors"))
        save_json(self.out / directory / "config.json", config)
        save(self.out / directory / "diffusion_pytorch_model.safetensors", weights)
        self.record(path, controlnet_record(unet, control, load(self.full / path)))

    def records(self, model):
        unet, config, weights, ldm_names = self.model(model)
        vae = self.vae(model)
        simple = {"unet": lambda full: unet_record(unet, full), "unet_lcm_cond": lambda full: lcm_cond_record(config, weights, full),
                  "layers": lambda full: layer_record(unet, full, with_vae=model == "tiny-sd15")}
        for name, make in simple.items():
            path = f"{model}/{name}.safetensors"
            # The layers of the other models are those of these two.
            if (self.full / path).exists() and not (name == "layers" and model not in ("tiny-sd15", "tiny-sdxl")):
                self.record(path, make(load(self.full / path)))
        self.loras(model, unet, ldm_names)
        self.controlnet(model, unet)
        for name in ("pipeline", "inpaint"):
            path = f"{model}/{name}.safetensors"
            if (self.full / path).exists():
                record, told = pipeline_record(unet, vae, load(self.full / path), load_json(self.full / f"{model}/{name}.json"))
                self.record(path, record)
                save_json(self.out / f"{model}/{name}.json", told)

    def index(self):
        full = load_json(self.full / "INDEX.json")
        index = {}
        for name, entry in full.items():
            path = self.out / name
            if name.startswith("_") or not path.exists():
                continue
            entry = {"made_by": entry["made_by"], "note": entry["note"], "bytes": path.stat().st_size if path.is_file() else None}
            if name in self.remarks:
                entry["slimmed"] = self.remarks[name]
            if not name.startswith("models/") and name.endswith(".safetensors"):
                entry["tensors"] = {k: [NUMPY_NAMES[NAMES[v.dtype]], list(v.shape)] for k, v in sorted(load(path).items())}
            index[name] = entry
        save_json(self.out / "INDEX.json", index)


def main():
    torch.set_grad_enabled(False)
    slimmer = Slimmer(Path(sys.argv[1]), Path(sys.argv[2]))
    for name in KEPT_WHOLE:
        slimmer.copy(name)
    slimmer.gpu_draws()
    for model in MODELS:
        slimmer.records(model)
    slimmer.index()


if __name__ == "__main__":
    main()
