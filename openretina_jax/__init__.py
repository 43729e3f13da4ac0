"""Deep core + readout models of the retina: train on many recordings at once, probe in silico.

From arrays to scores:

    dataset = openretina_jax.from_arrays({"my_retina": recording}, frame_rate_hz=30.0)
    model = openretina_jax.train(dataset)
    openretina_jax.evaluate(model, dataset).neurons
"""

from typing import TYPE_CHECKING

from openretina_jax.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from openretina_jax import insilico
    from openretina_jax import visualize as plots
    from openretina_jax.data.assembly import ArrayRecording, ArrayTest, from_arrays
    from openretina_jax.data.dataset import Dataset
    from openretina_jax.evaluation.evaluate import evaluate
    from openretina_jax.experiment.check_data import check_dataset as check
    from openretina_jax.experiment.notebook import load_dataset, train
    from openretina_jax.interop.exported import export, load_exported
    from openretina_jax.interop.loading import load
    from openretina_jax.models.saving import save_model as save
    from openretina_jax.models.summary import summary
    from openretina_jax.training.loop import fit

    __version__: str

__all__ = [
    "ArrayRecording",
    "ArrayTest",
    "Dataset",
    "__version__",
    "check",
    "evaluate",
    "export",
    "fit",
    "from_arrays",
    "insilico",
    "load",
    "load_dataset",
    "load_exported",
    "plots",
    "save",
    "summary",
    "train",
]

# jax takes seconds to import, matplotlib another one: all of this waits until it is used
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ArrayRecording": "openretina_jax.data.assembly:ArrayRecording",
        "ArrayTest": "openretina_jax.data.assembly:ArrayTest",
        "Dataset": "openretina_jax.data.dataset:Dataset",
        "__version__": "openretina_jax.runtime.version:VERSION",
        "check": "openretina_jax.experiment.check_data:check_dataset",
        "evaluate": "openretina_jax.evaluation.evaluate:evaluate",
        "export": "openretina_jax.interop.exported:export",
        "fit": "openretina_jax.training.loop:fit",
        "from_arrays": "openretina_jax.data.assembly:from_arrays",
        "insilico": "openretina_jax.insilico",
        "load": "openretina_jax.interop.loading:load",
        "load_dataset": "openretina_jax.experiment.notebook:load_dataset",
        "load_exported": "openretina_jax.interop.exported:load_exported",
        "plots": "openretina_jax.visualize",
        "save": "openretina_jax.models.saving:save_model",
        "summary": "openretina_jax.models.summary:summary",
        "train": "openretina_jax.experiment.notebook:train",
    },
)
