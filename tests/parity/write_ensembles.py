"""Write ensembles as the framework before openretina did, and what openretina's reader of them predicts.

    python tests/parity/write_ensembles.py CHECKOUT_OF_OPENRETINA

needs openretina's requirements and a checkout of it, whose ``openretina.legacy`` no release has. The networks are
random; running statistics, speeds and all parameters are moved away from their first values.
"""

import pickle
import sys
from pathlib import Path

import numpy as np
import torch
import yaml

FOLDER = Path(__file__).parents[1] / "goldens" / "ensembles"
SESSIONS = {"field_1": 3, "field_2": 2}
SHAPE = (2, 14, 9, 8)  # channel, time, height, width
COMMON = {
    "hidden_channels": (4, 3),
    "temporal_kernel_size": (7, 3),
    "spatial_kernel_size": (5, 3),
    "layers": 2,
    "stack": -1,
    "gamma_temporal": 2.0,
    "laplace_padding": 0,
}
VARIANTS = {
    "gaussian": {
        "gaussian_masks": True,
        "gaussian_mean_scale": 6.0,
        "gaussian_var_scale": 4.0,
        "readout_scale": True,
        "readout_positive": True,
        "core_bias": True,
        "batch_adaptation": True,
    },
    "padded": {
        "gaussian_masks": True,  # others fail in openretina
        "core_bias": True,  # with a scale alone, later layers of the core fail in openretina
        "batch_norm_scale": True,
        "batch_adaptation": False,
        "input_padding": True,
        "final_nonlinearity": False,
    },
}


def main() -> None:
    """Write a folder for every variant."""
    sys.path.insert(0, sys.argv[1])
    from openretina.legacy.models import SFB3d_core_SxF3d_readout
    from openretina.utils.nnfabrik_model_loading import Center, load_ensemble_retina_model_from_directory

    for name, options in VARIANTS.items():
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(len(name))
        info = {
            session: {
                "input_dimensions": torch.Size([4, *SHAPE]),
                "input_channels": SHAPE[0],
                "output_dimension": count,
                "mean_response": rng.uniform(0.1, 1, count).astype(np.float32),
                "roi_coords": rng.uniform(0, 60, (count, 2)),
                "img_mean": 37.2,
            }
            for session, count in SESSIONS.items()
        }
        for seed in (0, 1000):
            arguments = COMMON | options
            model = SFB3d_core_SxF3d_readout(None, seed=seed, data_info=info, **arguments)
            torch.manual_seed(seed + 1)
            for key, value in model.state_dict().items():
                if value.dtype.is_floating_point and not key.endswith("grid") and "_default" not in key:
                    if "log_speed" in key and not options["batch_adaptation"]:
                        continue
                    value += 0.3 * torch.rand(value.shape) if "running_var" in key else 0.1 * torch.randn(value.shape)
            torch.save(model.state_dict(), folder / f"state_dict_{seed:05d}.pth.tar")
            config = {"model_fn": "nnfabrik_euler.rgcs.models.SFB3d_core_SxF3d_readout", "model_config": arguments}
            (folder / f"config_{seed:05d}.yaml").write_text(yaml.dump(config), encoding="utf-8")
            (folder / f"data_info_{seed:05d}.pkl").write_bytes(pickle.dumps(info))
        _, ensemble = load_ensemble_retina_model_from_directory(str(folder), "cpu")
        _, centred = load_ensemble_retina_model_from_directory(str(folder), "cpu", Center([0.0, 0.0]))
        stimulus = rng.normal(size=(2, *SHAPE)).astype(np.float32)
        with torch.no_grad():
            answers = {
                f"{name}/{session}": model(torch.from_numpy(stimulus), session).numpy()
                for name, model in (("trained", ensemble), ("centred", centred))
                for session in SESSIONS
            }
        np.savez(folder / "answers.npz", stimulus=np.moveaxis(stimulus, 1, -1), **answers)


if __name__ == "__main__":
    main()
