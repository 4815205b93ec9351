"""`python -m finetune` where accelerate shards on CPUs too.

accelerate 1.15 takes no notice of ACCELERATE_USE_FSDP where there is no GPU, although torch's FSDP2
works over gloo; everything else here is as `accelerate launch` leaves it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

_init = AcceleratorState.__init__


def _init_sharded(self: Any, *args: Any, **options: Any) -> None:
    _init(self, *args, **options)
    if (
        os.environ.get("ACCELERATE_USE_FSDP") == "true"
        and self.distributed_type is DistributedType.MULTI_CPU
        and options.get("fsdp_plugin") is not None
    ):
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = options["fsdp_plugin"]


AcceleratorState.__init__ = _init_sharded

if __name__ == "__main__":
    from finetune.__main__ import main

    code = main()
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()
    sys.exit(code)
