"""Open a file of ``interop.to_openretina`` with openretina, and compare the responses of its model with arrays.

Run by hand where torch and openretina are installed; imports nothing of ours:

    python tests/parity/read_parameters.py parameters.npz answers.npz

``answers.npz`` holds the stimulus ``x`` as openretina takes it, ``eval/SESSION`` for every session, and ``atol``.
"""

import json
import sys

import numpy as np
import torch
from omegaconf import OmegaConf
from openretina.models.core_readout import UnifiedCoreReadout

arrays = dict(np.load(sys.argv[1]))
model = UnifiedCoreReadout(**OmegaConf.create(json.loads(str(arrays.pop("hyper_parameters")))))
found = model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()}, strict=False)
print(
    "not in the file:",
    sorted({name.rsplit(".", 1)[-1] for name in found.missing_keys}),
    "left over:",
    found.unexpected_keys,
)
answers = np.load(sys.argv[2])
model.eval()
for name in answers.files:
    if name.startswith("eval/"):
        with torch.no_grad():
            response = model(torch.from_numpy(answers["x"]), name.removeprefix("eval/")).numpy()
        np.testing.assert_allclose(response, answers[name], rtol=1e-5, atol=float(answers["atol"]), err_msg=name)
        print(name, "agrees")
