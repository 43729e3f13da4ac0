"""The models that openretina published, and where they are."""

from collections.abc import Mapping

from openretina_jax.runtime.fetch import HubFile

REPOSITORY = "open-retina/open-retina"
_NEW, _OLD = "model_checkpoints/2026-03-09", "model_checkpoints/27-11-2025"

PUBLISHED: Mapping[str, HubFile] = {
    name: HubFile(REPOSITORY, path)
    for name, path in {
        "hoefling_2024_low_res": f"{_NEW}/hoefling_2024_cnn_low_res.ckpt",
        "hoefling_2024_high_res": f"{_NEW}/hoefling_2024_cnn_high_res.ckpt",
        "karamanlis_2024_mouse": f"{_NEW}/karamanlis_2024_mouse.ckpt",
        "karamanlis_2024_marmoset": f"{_NEW}/karamanlis_2024_marmoset.ckpt",
        "maheswaranathan_2023": f"{_NEW}/maheswaranathan_2023.ckpt",
        "sridhar_2025": f"{_NEW}/sridhar_2025.ckpt",
        "goldin_2022_axolotl": f"{_NEW}/goldin_2022_axolotl.ckpt",
        "goldin_2022_mouse": f"{_NEW}/goldin_2022_mouse.ckpt",
        # of the first preprint
        "hoefling_2024_base_low_res": f"{_OLD}/hoefling_2024_base_low_res.ckpt",
    }.items()
}
