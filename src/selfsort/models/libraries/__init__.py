"""The libraries that networks come from, one file each; a name may say which: "timm:resnet50"."""

from collections.abc import Mapping

from selfsort.models.libraries.library import Library
from selfsort.models.libraries.open_clip_library import OpenClip
from selfsort.models.libraries.timm_library import Timm
from selfsort.models.libraries.torchvision_library import Torchvision

TIMM, TORCHVISION = Timm(), Torchvision()
LIBRARIES: Mapping[str, Library] = {"timm": TIMM, "torchvision": TORCHVISION, "open_clip": OpenClip()}
