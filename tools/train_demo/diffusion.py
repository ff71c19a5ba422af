"""The noise schedule of the demo model (SDXL's betas, rescaled to zero signal at the end; v-prediction) and what is done
with it: noising, DDIM steps with guidance, and the consistency function of LCM."""
import torch

STEPS = 1000
GUIDANCE = 3.0  # of the teacher, baked into the distilled model


def alpha_bars(device):
    """Products of 1 - beta, [1000] (rescaled as in "Common Diffusion Noise Schedules and Sample Steps are Flawed",
    Lin et al. 2023, algorithm 1)."""
    betas = torch.linspace(0.00085 ** 0.5, 0.012 ** 0.5, STEPS, dtype=torch.float64) ** 2
    root = (1 - betas).cumprod(0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    root = (root - last) * first / (first - last)
    return (root ** 2).float().to(device)


class Schedule:
    def __init__(self, device):
        bars = alpha_bars(device)
        self.alpha, self.sigma = bars.sqrt(), (1 - bars).sqrt()

    def at(self, t):
        return self.alpha[t][:, None, None, None], self.sigma[t][:, None, None, None]

    def noised(self, x0, noise, t):
        alpha, sigma = self.at(t)
        return alpha * x0 + sigma * noise

    def velocity(self, x0, noise, t):
        alpha, sigma = self.at(t)
        return alpha * noise - sigma * x0

    def split(self, x, v, t):
        """The clean latents and the noise that a predicted v means."""
        alpha, sigma = self.at(t)
        return alpha * x - sigma * v, sigma * x + alpha * v

    def ddim(self, x, v, t, to):
        """One deterministic step; to may be -1: the end."""
        x0, noise = self.split(x, v, t)
        alpha, sigma = self.at(to.clamp(0))
        return torch.where((to < 0)[:, None, None, None], x0, alpha * x0 + sigma * noise)

    def consistent(self, x, v, t):
        """LCM's consistency function: sigma_data 0.5, timestep_scaling 10."""
        x0, _ = self.split(x, v, t)
        scaled = 10.0 * t.float()[:, None, None, None]
        skip, out = 0.25 / (scaled ** 2 + 0.25), scaled / (scaled ** 2 + 0.25).sqrt()
        return skip * x + out * x0


def guided(unet, x, t, states, pooled, time_ids, scale):
    """v with classifier-free guidance; the empty prompt is zeros, as SDXL's force_zeros_for_empty_prompt has it."""
    both = unet(torch.cat([x, x]), torch.cat([t, t]), torch.cat([states, states * 0]), torch.cat([pooled, pooled * 0]),
                torch.cat([time_ids, time_ids]))
    conditional, empty = both.float().chunk(2)
    return empty + scale * (conditional - empty)


def lcm_timesteps(count):
    """Those of diffusers' LCMScheduler: `count` of the 50 that the model is distilled on, evenly from the top."""
    grid = [20 * (i + 1) - 1 for i in range(50)][::-1]
    return [grid[int(i * 50 / count)] for i in range(count)]


@torch.no_grad()
def sample_lcm(unet, schedule, shape, states, pooled, time_ids, generator, count=4):
    device = states.device
    x = torch.randn(shape, generator=generator, device=device)
    timesteps = lcm_timesteps(count)
    for i, value in enumerate(timesteps):
        t = torch.full((shape[0],), value, device=device, dtype=torch.long)
        x0 = schedule.consistent(x, unet(x, t, states, pooled, time_ids).float(), t)
        if i + 1 < count:
            following = torch.full_like(t, timesteps[i + 1])
            x = schedule.noised(x0, torch.randn(shape, generator=generator, device=device), following)
    return x0


@torch.no_grad()
def sample_ddim(unet, schedule, shape, states, pooled, time_ids, generator, count=25, scale=GUIDANCE):
    device = states.device
    x = torch.randn(shape, generator=generator, device=device)
    grid = [int(999 - i * 1000 / count) for i in range(count)] + [-1]
    for value, following in zip(grid, grid[1:]):
        t = torch.full((shape[0],), value, device=device, dtype=torch.long)
        x = schedule.ddim(x, guided(unet, x, t, states, pooled, time_ids, scale), t, torch.full_like(t, following))
    return x
