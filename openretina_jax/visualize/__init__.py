"""Pictures as functions that return figures, which show themselves in a notebook: ``openretina_jax.plots``."""

from typing import TYPE_CHECKING

from openretina_jax.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from openretina_jax.visualize.animation import Animation, animate_stimulus, animate_traces
    from openretina_jax.visualize.data import plot_dataset, plot_stimuli
    from openretina_jax.visualize.filters import plot_coefficients, plot_filters
    from openretina_jax.visualize.gradients import plot_contrast_grid, plot_vector_field
    from openretina_jax.visualize.readouts import plot_neurons
    from openretina_jax.visualize.rois import animate_rois, plot_rois
    from openretina_jax.visualize.scores import (
        plot_cell_types,
        plot_histograms,
        plot_history,
        plot_pairs,
        plot_predictions,
        plot_reliability,
        plot_sessions,
        plot_traces,
    )
    from openretina_jax.visualize.search import plot_importances, plot_scores, plot_slices
    from openretina_jax.visualize.stimuli import plot_composition
    from openretina_jax.visualize.style import save
    from openretina_jax.visualize.tuning import plot_directions, plot_population, plot_tuning
    from openretina_jax.visualize.weights import plot_gates, plot_patterns, plot_speeds, weight_figures

__all__ = [
    "Animation",
    "animate_rois",
    "animate_stimulus",
    "animate_traces",
    "plot_cell_types",
    "plot_coefficients",
    "plot_composition",
    "plot_contrast_grid",
    "plot_dataset",
    "plot_directions",
    "plot_filters",
    "plot_gates",
    "plot_histograms",
    "plot_history",
    "plot_importances",
    "plot_neurons",
    "plot_pairs",
    "plot_patterns",
    "plot_population",
    "plot_predictions",
    "plot_reliability",
    "plot_rois",
    "plot_scores",
    "plot_sessions",
    "plot_slices",
    "plot_speeds",
    "plot_stimuli",
    "plot_traces",
    "plot_tuning",
    "plot_vector_field",
    "save",
    "weight_figures",
]

# files are imported one by one: each needs other libraries
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Animation": "openretina_jax.visualize.animation:Animation",
        "animate_rois": "openretina_jax.visualize.rois:animate_rois",
        "animate_stimulus": "openretina_jax.visualize.animation:animate_stimulus",
        "animate_traces": "openretina_jax.visualize.animation:animate_traces",
        "plot_cell_types": "openretina_jax.visualize.scores:plot_cell_types",
        "plot_coefficients": "openretina_jax.visualize.filters:plot_coefficients",
        "plot_composition": "openretina_jax.visualize.stimuli:plot_composition",
        "plot_contrast_grid": "openretina_jax.visualize.gradients:plot_contrast_grid",
        "plot_dataset": "openretina_jax.visualize.data:plot_dataset",
        "plot_directions": "openretina_jax.visualize.tuning:plot_directions",
        "plot_filters": "openretina_jax.visualize.filters:plot_filters",
        "plot_gates": "openretina_jax.visualize.weights:plot_gates",
        "plot_histograms": "openretina_jax.visualize.scores:plot_histograms",
        "plot_history": "openretina_jax.visualize.scores:plot_history",
        "plot_importances": "openretina_jax.visualize.search:plot_importances",
        "plot_neurons": "openretina_jax.visualize.readouts:plot_neurons",
        "plot_pairs": "openretina_jax.visualize.scores:plot_pairs",
        "plot_patterns": "openretina_jax.visualize.weights:plot_patterns",
        "plot_population": "openretina_jax.visualize.tuning:plot_population",
        "plot_predictions": "openretina_jax.visualize.scores:plot_predictions",
        "plot_reliability": "openretina_jax.visualize.scores:plot_reliability",
        "plot_rois": "openretina_jax.visualize.rois:plot_rois",
        "plot_scores": "openretina_jax.visualize.search:plot_scores",
        "plot_sessions": "openretina_jax.visualize.scores:plot_sessions",
        "plot_slices": "openretina_jax.visualize.search:plot_slices",
        "plot_speeds": "openretina_jax.visualize.weights:plot_speeds",
        "plot_stimuli": "openretina_jax.visualize.data:plot_stimuli",
        "plot_traces": "openretina_jax.visualize.scores:plot_traces",
        "plot_tuning": "openretina_jax.visualize.tuning:plot_tuning",
        "plot_vector_field": "openretina_jax.visualize.gradients:plot_vector_field",
        "save": "openretina_jax.visualize.style:save",
        "weight_figures": "openretina_jax.visualize.weights:weight_figures",
    },
)
