"""What is used of lightly, imported so that it loads beside a CPU build of torch.

Nothing else may import lightly: torchvision's compiled part cannot load where
torch has no CUDA, and its Python part then dies because the two operators that
it registers fake versions of are not declared. Declaring their schemas first is
enough: nothing here ever calls them.
"""

from __future__ import annotations

from importlib import import_module

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_operators() -> torch.library.Library | None:
    """Declare torchvision's two operators where torch is a CPU build.

    Returns
    -------
    torch.library.Library or None
        What holds the declarations: they vanish with it, so keep the reference.
        None where torch has CUDA, and torchvision declares them itself.
    """
    if torch.version.cuda is not None:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SCHEMA)
    return library


#: Kept for the life of the process.
DECLARED = declare_operators()

# By name, as imports would be sorted before the declarations.
ProjectionHead = import_module("lightly.models.modules.heads").ProjectionHead
NTXentLoss = import_module("lightly.loss.ntx_ent_loss").NTXentLoss
VICRegLoss = import_module("lightly.loss.vicreg_loss").VICRegLoss
update_momentum = import_module("lightly.models.utils").update_momentum
