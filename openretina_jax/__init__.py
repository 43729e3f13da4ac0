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
    from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays
    from openretina_jax.data.dataset import Dataset
    from openretina_jax.evaluation.baselines.baselines import fit_baselines as baselines
    from openretina_jax.evaluation.evaluate import evaluate
    from openretina_jax.experiment.adapt import adapt
    from openretina_jax.experiment.check_data import check_dataset as check
    from openretina_jax.experiment.command_line import show_progress as progress
    from openretina_jax.experiment.notebook import load_dataset, train
    from openretina_jax.interop.exported import export, export_stream, load_exported, load_exported_stream
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
    "adapt",
    "baselines",
    "check",
    "evaluate",
    "export",
    "export_stream",
    "fit",
    "from_arrays",
    "insilico",
    "load",
    "load_dataset",
    "load_exported",
    "load_exported_stream",
    "plots",
    "progress",
    "save",
    "summary",
    "train",
]

# jax takes seconds to import, matplotlib another one: all of this waits until it is used
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ArrayRecording": "openretina_jax.data.arrays:ArrayRecording",
        "ArrayTest": "openretina_jax.data.arrays:ArrayTest",
        "Dataset": "openretina_jax.data.dataset:Dataset",
        "__version__": "openretina_jax.runtime.version:VERSION",
        "adapt": "openretina_jax.experiment.adapt:adapt",
        "baselines": "openretina_jax.evaluation.baselines.baselines:fit_baselines",
        "check": "openretina_jax.experiment.check_data:check_dataset",
        "evaluate": "openretina_jax.evaluation.evaluate:evaluate",
        "export": "openretina_jax.interop.exported:export",
        "export_stream": "openretina_jax.interop.exported:export_stream",
        "fit": "openretina_jax.training.loop:fit",
        "from_arrays": "openretina_jax.data.arrays:from_arrays",
        "insilico": "openretina_jax.insilico",
        "load": "openretina_jax.interop.loading:load",
        "load_dataset": "openretina_jax.experiment.notebook:load_dataset",
        "load_exported": "openretina_jax.interop.exported:load_exported",
        "load_exported_stream": "openretina_jax.interop.exported:load_exported_stream",
        "plots": "openretina_jax.visualize",
        "progress": "openretina_jax.experiment.command_line:show_progress",
        "save": "openretina_jax.models.saving:save_model",
        "summary": "openretina_jax.models.summary:summary",
        "train": "openretina_jax.experiment.notebook:train",
    },
)
