"""Compile the training of an epoch for accelerators that this machine does not have; prints a JSON line about it.

python scripts/compile_for.py --config=configs/hoefling_low_res.py --platform=tpu --topology=v5e:2x4
    [--config.a.b=c ...] [--sessions=67] [--neurons=64]
python scripts/compile_for.py --config=... --platform=cuda --topology=1x1x8 --gpu=h100_sxm.txtpb
"""

import json
import os
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).parent.parent))  # where configurations find configs/common.py

from openretina_jax.experiment import command_line
from openretina_jax.runtime.settings import check_effect, entries

# the compilers' libraries would look for devices, and for a TPU's surroundings in the network; JAX reads this when
# configurations import it
os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}

command_line.define_config("Configuration file; words after a colon choose variants.")
_PLATFORM = flags.DEFINE_enum("platform", "tpu", ["tpu", "cuda"], "What kind of accelerator.")
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, 'TPUs, such as v5e:2x4; or slices, hosts in each, and GPUs in each of those, such as "1x1x8".'
)
_GPU = flags.DEFINE_string("gpu", None, "Description of the GPU: a file of xla/backends/gpu/target_config/specs.")
_SESSIONS = flags.DEFINE_integer("sessions", 67, "Sessions of the recordings.", lower_bound=1)
_NEURONS = flags.DEFINE_integer("neurons", 64, "Neurons of each session.", lower_bound=1)
command_line.define_shape()
command_line.require_config()
flags.mark_flag_as_required("topology")


def main() -> None:
    """Print what the compiler says."""
    config, _ = command_line.configuration()
    check_effect(command_line.given_settings(), entries(config))
    # these take seconds: flags are checked before
    from benchmarks.elsewhere import compile_epoch, devices_elsewhere
    from benchmarks.run import frame_shape
    from openretina_jax.experiment.recipe import resolved

    settings = resolved(config.to_dict())
    shape = command_line.shape() or frame_shape(settings["data"])
    devices = devices_elsewhere(_PLATFORM.value, _TOPOLOGY.value, Path(_GPU.value) if _GPU.value else None)
    line = compile_epoch(settings, devices, sessions=_SESSIONS.value, neurons=_NEURONS.value, input_shape=shape)
    print(json.dumps(line))


if __name__ == "__main__":
    command_line.run(main)
