"""The networks that are trained, as modules whose state dicts have the names of diffusers and transformers.

UNet2DConditionModel and AutoencoderKL in the structure of SDXL, CLIPTextModel(WithProjection), and besides them an
RRDBNet for upscaling and the classifier that judges pictures. Runs on PyTorch 1.13 and later.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

import scenes


def attend(q, k, v, heads, causal=False):
    """q [N, T, C], k and v [N, S, C]."""
    n, t, c = q.shape
    q, k, v = (x.view(n, -1, heads, c // heads).transpose(1, 2) for x in (q, k, v))
    if hasattr(F, "scaled_dot_product_attention"):
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    else:
        scores = q @ k.transpose(2, 3) / math.sqrt(c // heads)
        if causal:
            scores = scores + torch.full((t, t), -1e9, device=q.device).triu(1)
        out = scores.softmax(-1) @ v
    return out.transpose(1, 2).reshape(n, t, c)


def sinusoids(t, channels):
    """diffusers' Timesteps with flip_sin_to_cos and freq_shift 0: t [N] to [N, channels]."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], 1)


# ---- parts of UNet and autoencoder

class ResnetBlock(nn.Module):
    def __init__(self, inner, outer, groups, embedding=None, eps=1e-5):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, inner, eps), nn.Conv2d(inner, outer, 3, 1, 1)
        if embedding:
            self.time_emb_proj = nn.Linear(embedding, outer)
        self.norm2, self.conv2 = nn.GroupNorm(groups, outer, eps), nn.Conv2d(outer, outer, 3, 1, 1)
        if inner != outer:
            self.conv_shortcut = nn.Conv2d(inner, outer, 1)

    def forward(self, x, embedding=None):
        h = self.conv1(F.silu(self.norm1(x)))
        if embedding is not None:
            h = h + self.time_emb_proj(F.silu(embedding))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x) + h


class Downsample(nn.Module):
    def __init__(self, channels, asymmetric):
        super().__init__()
        self.asymmetric = asymmetric
        self.conv = nn.Conv2d(channels, channels, 3, 2, 0 if asymmetric else 1)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.asymmetric else x)


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class CrossAttention(nn.Module):
    def __init__(self, channels, context, heads):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(c, channels, bias=False) for c in (channels, context, context))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x, context):
        return self.to_out[0](attend(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class Geglu(nn.Module):
    def __init__(self, channels, inner):
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x):
        value, gate = self.proj(x).chunk(2, -1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.net = nn.ModuleList([Geglu(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)])

    def forward(self, x):
        return self.net[2](self.net[0](x))


class TransformerBlock(nn.Module):
    def __init__(self, channels, context, heads):
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(channels), CrossAttention(channels, channels, heads)
        self.norm2, self.attn2 = nn.LayerNorm(channels), CrossAttention(channels, context, heads)
        self.norm3, self.ff = nn.LayerNorm(channels), FeedForward(channels)

    def forward(self, x, context):
        h = self.norm1(x)
        x = x + self.attn1(h, h)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    def __init__(self, channels, context, heads, depth, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, 1e-6)
        self.proj_in, self.proj_out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, context, heads) for _ in range(depth)])

    def forward(self, x, context):
        n, c, h, w = x.shape
        y = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            y = block(y, context)
        return x + self.proj_out(y).transpose(1, 2).reshape(n, c, h, w)


class Block(nn.Module):
    """One level of the UNet, or its middle: resnets with attentions (depth 0: none), then another size."""
    def __init__(self, resnets, embedding, context, heads, depth, groups, attentions=None, down=False, up=False):
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(i, o, groups, embedding) for i, o in resnets])
        outer = resnets[-1][1]
        if depth:
            count = len(resnets) if attentions is None else attentions
            self.attentions = nn.ModuleList([Transformer(outer, context, heads, depth, groups) for _ in range(count)])
        if down:
            self.downsamplers = nn.ModuleList([Downsample(outer, False)])
        if up:
            self.upsamplers = nn.ModuleList([Upsample(outer)])


class UNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        channels, depths, heads = config["block_out_channels"], config["transformer_layers_per_block"], config["attention_head_dim"]
        context, groups, layers = config["cross_attention_dim"], config["norm_num_groups"], config["layers_per_block"]
        embedding = 4 * channels[0]
        first = channels[0]
        self.conv_in = nn.Conv2d(4, first, 3, 1, 1)
        self.time_embedding = nn.ModuleDict({"linear_1": nn.Linear(first, embedding), "linear_2": nn.Linear(embedding, embedding)})
        self.add_embedding = nn.ModuleDict({"linear_1": nn.Linear(config["projection_class_embeddings_input_dim"], embedding),
                                            "linear_2": nn.Linear(embedding, embedding)})
        skips, width = [first], first
        self.down_blocks = nn.ModuleList()
        for i, outer in enumerate(channels):
            last = i == len(channels) - 1
            self.down_blocks.append(Block([(width if j == 0 else outer, outer) for j in range(layers)], embedding, context,
                                          heads[i], depths[i], groups, down=not last))
            skips += [outer] * layers + ([] if last else [outer])
            width = outer
        self.mid_block = Block([(width, width)] * 2, embedding, context, heads[-1], depths[-1], groups, attentions=1)
        self.up_blocks = nn.ModuleList()
        for i in reversed(range(len(channels))):
            resnets = []
            for _ in range(layers + 1):
                resnets.append((width + skips.pop(), channels[i]))
                width = channels[i]
            self.up_blocks.append(Block(resnets, embedding, context, heads[i], depths[i], groups, up=i > 0))
        self.conv_norm_out = nn.GroupNorm(groups, first, 1e-5)
        self.conv_out = nn.Conv2d(first, 4, 3, 1, 1)

    def forward(self, x, t, context, pooled, time_ids):
        """x [N, 4, H, W], t [N], context [N, 77, C], pooled [N, P], time_ids [N, 6]; the predicted noise."""
        mlp = lambda m, v: m["linear_2"](F.silu(m["linear_1"](v)))
        ids = sinusoids(time_ids.reshape(-1), self.config["addition_time_embed_dim"]).view(len(x), -1)
        embedding = mlp(self.time_embedding, sinusoids(t, self.config["block_out_channels"][0]).to(x.dtype))
        embedding = embedding + mlp(self.add_embedding, torch.cat([pooled, ids.to(pooled.dtype)], 1))
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            for i, resnet in enumerate(block.resnets):
                x = resnet(x, embedding)
                if hasattr(block, "attentions"):
                    x = block.attentions[i](x, context)
                skips.append(x)
            if hasattr(block, "downsamplers"):
                x = block.downsamplers[0](x)
                skips.append(x)
        x = self.mid_block.resnets[0](x, embedding)
        x = self.mid_block.attentions[0](x, context)
        x = self.mid_block.resnets[1](x, embedding)
        for block in self.up_blocks:
            for i, resnet in enumerate(block.resnets):
                x = resnet(torch.cat([x, skips.pop()], 1), embedding)
                if hasattr(block, "attentions"):
                    x = block.attentions[i](x, context)
            if hasattr(block, "upsamplers"):
                x = block.upsamplers[0](x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


# ---- autoencoder

class VaeAttention(nn.Module):
    def __init__(self, channels, groups):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, 1e-6)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x):
        n, c, h, w = x.shape
        y = self.group_norm(x).flatten(2).transpose(1, 2)
        y = self.to_out[0](attend(self.to_q(y), self.to_k(y), self.to_v(y), 1))
        return x + y.transpose(1, 2).reshape(n, c, h, w)


class VaeBlock(nn.Module):
    def __init__(self, inner, outer, count, groups, down=False, up=False, attention=False):
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(inner if i == 0 else outer, outer, groups, eps=1e-6) for i in range(count)])
        if attention:
            self.attentions = nn.ModuleList([VaeAttention(outer, groups)])
        if down:
            self.downsamplers = nn.ModuleList([Downsample(outer, True)])
        if up:
            self.upsamplers = nn.ModuleList([Upsample(outer)])

    def forward(self, x):
        for i, resnet in enumerate(self.resnets):
            x = resnet(x)
            if i == 0 and hasattr(self, "attentions"):
                x = self.attentions[0](x)
        for name in ("downsamplers", "upsamplers"):
            if hasattr(self, name):
                x = getattr(self, name)[0](x)
        return x


class VaeHalf(nn.Module):
    def __init__(self, config, decoder):
        super().__init__()
        channels, groups, layers = config["block_out_channels"], config["norm_num_groups"], config["layers_per_block"]
        widths = channels[::-1] if decoder else channels
        self.decoder = decoder
        self.conv_in = nn.Conv2d(4 if decoder else 3, widths[0], 3, 1, 1)
        blocks = nn.ModuleList()
        width = widths[0]
        for i, outer in enumerate(widths):
            last = i == len(widths) - 1
            blocks.append(VaeBlock(width, outer, layers + decoder, groups, down=not decoder and not last, up=decoder and not last))
            width = outer
        setattr(self, "up_blocks" if decoder else "down_blocks", blocks)
        middle = channels[-1]
        self.mid_block = VaeBlock(middle, middle, 2, groups, attention=True)
        self.conv_norm_out = nn.GroupNorm(groups, width, 1e-6)
        self.conv_out = nn.Conv2d(width, 3 if decoder else 8, 3, 1, 1)

    def forward(self, x):
        x = self.conv_in(x)
        blocks = [self.mid_block, *self.up_blocks] if self.decoder else [*self.down_blocks, self.mid_block]
        for block in blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Autoencoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = VaeHalf(config, False), VaeHalf(config, True)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(8, 8, 1), nn.Conv2d(4, 4, 1)

    def encode(self, pictures):
        """[N, 3, H, W] in -1..1 to mean and log variance, [N, 4, H/8, W/8], unscaled."""
        mean, log_variance = self.quant_conv(self.encoder(pictures)).chunk(2, 1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, latents):
        return self.decoder(self.post_quant_conv(latents))


# ---- text encoders

class TextLayer(nn.Module):
    def __init__(self, width, heads, quick):
        super().__init__()
        self.heads, self.quick = heads, quick
        self.self_attn = nn.ModuleDict({n: nn.Linear(width, width) for n in ("q_proj", "k_proj", "v_proj", "out_proj")})
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x):
        a, h = self.self_attn, self.layer_norm1(x)
        x = x + a["out_proj"](attend(a["q_proj"](h), a["k_proj"](h), a["v_proj"](h), self.heads, causal=True))
        h = self.mlp["fc1"](self.layer_norm2(x))
        h = h * torch.sigmoid(1.702 * h) if self.quick else F.gelu(h)
        return x + self.mlp["fc2"](h)


class TextModel(nn.Module):
    def __init__(self, config, rows):
        super().__init__()
        width = config["hidden_size"]
        self.embeddings = nn.ModuleDict({"token_embedding": nn.Embedding(rows, width), "position_embedding": nn.Embedding(77, width)})
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(
            [TextLayer(width, config["num_attention_heads"], config["hidden_act"] == "quick_gelu") for _ in range(config["num_hidden_layers"])])})
        self.final_layer_norm = nn.LayerNorm(width)
        for table in self.embeddings.values():
            nn.init.normal_(table.weight, std=0.02)


class TextEncoder(nn.Module):
    """rows: of the token table, which has the tokens that captions use and a last row for all others."""
    def __init__(self, config, rows):
        super().__init__()
        self.config = config
        self.text_model = TextModel(config, rows)
        if config.get("projection_dim"):
            self.text_projection = nn.Linear(config["hidden_size"], config["projection_dim"], bias=False)

    def forward(self, rows, end):
        """rows [N, 77] of the table, end [N]: where the first end token stands. Penultimate states, projected pooled."""
        m = self.text_model
        x = m.embeddings["token_embedding"](rows) + m.embeddings["position_embedding"].weight[None]
        for i, layer in enumerate(m.encoder["layers"]):
            if i == len(m.encoder["layers"]) - 1:
                penultimate = x
            x = layer(x)
        pooled = m.final_layer_norm(x)[torch.arange(len(rows), device=rows.device), end]
        return penultimate, self.text_projection(pooled) if hasattr(self, "text_projection") else None


# ---- beside the diffusion model

class DenseBlock(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        for i in range(5):
            setattr(self, f"conv{i + 1}", nn.Conv2d(channels + i * growth, growth if i < 4 else channels, 3, 1, 1))

    def forward(self, x):
        parts = [x]
        for i in range(4):
            parts.append(F.leaky_relu(getattr(self, f"conv{i + 1}")(torch.cat(parts, 1)), 0.2))
        return x + 0.2 * self.conv5(torch.cat(parts, 1))


class Rrdb(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(channels, growth) for _ in range(3))

    def forward(self, x):
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class RrdbNet(nn.Module):
    """ESRGAN's generator for twice the size (Wang et al. 2018), with one enlargement. It begins as linear interpolation:
    nearest and a binomial window of 3x3 are that, and colors pass through channels of their own."""
    def __init__(self, channels=24, blocks=2, growth=12):
        super().__init__()
        self.conv_first = nn.Conv2d(3, channels, 3, 1, 1)
        self.body = nn.ModuleList([Rrdb(channels, growth) for _ in range(blocks)])
        self.conv_body, self.conv_up1, self.conv_hr = (nn.Conv2d(channels, channels, 3, 1, 1) for _ in range(3))
        self.conv_last = nn.Conv2d(channels, 3, 3, 1, 1)
        point = torch.tensor([0.0, 1.0, 0.0])
        for conv, line in ((self.conv_first, point), (self.conv_up1, torch.tensor([0.25, 0.5, 0.25])), (self.conv_hr, point), (self.conv_last, point)):
            with torch.no_grad():
                for color in range(3):
                    conv.weight[color] = 0
                    conv.weight[color, color] = torch.outer(line, line)
                    conv.bias[color] = 0
        with torch.no_grad():
            self.conv_body.weight[:3], self.conv_body.bias[:3], self.conv_last.weight[:, 3:] = 0, 0, 0

    def forward(self, x):
        x = self.conv_first(x)
        y = x
        for block in self.body:
            y = block(y)
        x = x + self.conv_body(y)
        x = F.leaky_relu(self.conv_up1(F.interpolate(x, scale_factor=2.0, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))


class Classifier(nn.Module):
    """Pictures [N, 3, 256, 256] in 0..1 to the logits of what is in them, see `parts`."""
    PARTS = {"pairs": len(scenes.KINDS) * len(scenes.COLORS), "positions": len(scenes.KINDS) * len(scenes.POSITIONS),
             "place": len(scenes.PLACES), "time": len(scenes.TIMES), "style": len(scenes.STYLES)}

    def __init__(self, widths=(24, 48, 80, 112, 144)):
        super().__init__()
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        inner = 3
        for width in widths:
            self.convs.append(nn.Conv2d(inner, width, 3, 2, 1))
            self.norms.append(nn.GroupNorm(8, width))
            self.convs.append(nn.Conv2d(width, width, 3, 1, 1))
            self.norms.append(nn.GroupNorm(8, width))
            inner = width
        # Where something stands matters: means and maxima of three columns of the last map.
        self.hidden = nn.Linear(inner * 6, 384)
        self.head = nn.Linear(384, sum(self.PARTS.values()))

    def forward(self, x):
        x = 2 * x - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            x = F.silu(norm(conv(x)))
        x = torch.cat([F.adaptive_avg_pool2d(x, (1, 3)).flatten(1), F.adaptive_max_pool2d(x, (1, 3)).flatten(1)], 1)
        x = F.silu(self.hidden(x))
        return dict(zip(self.PARTS, self.head(x).split(list(self.PARTS.values()), 1)))


# ---- the shapes that are shipped

TEXT_1 = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2, "hidden_act": "quick_gelu"}
TEXT_2 = {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 3, "hidden_act": "gelu", "projection_dim": 96}
UNET = {"block_out_channels": [48, 80, 112], "transformer_layers_per_block": [0, 1, 1], "attention_head_dim": [2, 5, 7],
        "cross_attention_dim": 160, "norm_num_groups": 8, "layers_per_block": 2, "addition_time_embed_dim": 16,
        "projection_class_embeddings_input_dim": 96 + 6 * 16}
VAE = {"block_out_channels": [32, 48, 64, 80], "norm_num_groups": 8, "layers_per_block": 2}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


if __name__ == "__main__":
    for name, module in (("text 1", TextEncoder(TEXT_1, 400)), ("text 2", TextEncoder(TEXT_2, 400)), ("unet", UNet(UNET)),
                         ("vae", Autoencoder(VAE)), ("upscaler", RrdbNet()), ("classifier", Classifier())):
        print(name, parameters(module), f"{parameters(module) * 2 / 1e6:.1f} MB")
    u = UNet(UNET)
    print(u(torch.zeros(2, 4, 32, 32), torch.tensor([1, 999]), torch.zeros(2, 77, 160), torch.zeros(2, 96), torch.zeros(2, 6)).shape)
    v = Autoencoder(VAE)
    m, _ = v.encode(torch.zeros(1, 3, 64, 64))
    print(m.shape, v.decode(m).shape)
