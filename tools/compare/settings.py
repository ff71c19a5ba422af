"""What both programs are asked to do, and the names that they share."""
from dataclasses import dataclass

# In the order in which they are timed.
STAGES = ("text", "unet", "vae_decode", "image")
NATIVE_SIDE = {"sd15": 512, "sdxl": 1024}


class UserError(Exception):
    """Something a person can put right; the message is one line."""


@dataclass(frozen=True)
class Settings:
    """One comparison: the same for both programs."""

    family: str  # a key of NATIVE_SIDE
    width: int  # pixels
    height: int  # pixels
    steps: int
    guidance: float  # over 1: a UNet pass is of two images for each picture
    batch: int  # pictures at once
    device: str  # "cuda" or "cpu"
    dtype: str  # "fp32", "bf16" or "fp16"
    threads: int  # of the processor; 0: as many as PyTorch chooses, for both
    repeat: int  # timed runs of a stage in one round
    stages: tuple[str, ...]  # of STAGES

    @property
    def guided(self):
        return self.guidance > 1

    def runs(self, stage):
        """Timed runs of a stage in one round. As in `dreamlab bench`, a picture on a processor, which takes long, has one."""
        return 1 if stage == "image" and self.device == "cpu" else self.repeat
