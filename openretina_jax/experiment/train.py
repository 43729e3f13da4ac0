"""From a configuration to a run."""

import contextlib
import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import ml_collections
from flax import nnx
from rich.console import Console

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.fingerprint import fingerprint
from openretina_jax.data.windows import SAMPLERS, make_sampler
from openretina_jax.errors import UserError
from openretina_jax.evaluation.monitor import SCORES, LossScore
from openretina_jax.experiment.callbacks import check_callbacks, finished_files, make_callbacks
from openretina_jax.experiment.command_line import show_progress
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.provenance import CONTENT, VERSIONS, versions
from openretina_jax.experiment.recipe import make_trainer, order_options, resolved, with_kind, with_values
from openretina_jax.experiment.same_run import check_same_run
from openretina_jax.interop.loading import check_exists
from openretina_jax.models.build import starts_at_location
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import Model
from openretina_jax.models.saving import load_model
from openretina_jax.runtime.described import counted
from openretina_jax.runtime.devices import matmul_precision, own_numbers
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.runtime.files import address_of, check_writable, locked
from openretina_jax.runtime.processes import first_before_others, is_first
from openretina_jax.runtime.stores import KeptFolder, kept_folder
from openretina_jax.training.callbacks import Callback, Callbacks
from openretina_jax.training.callbacks.profile import Profile
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.feed import Feed
from openretina_jax.training.loop import FitResult, fit
from openretina_jax.training.objective import LOSSES, FrameLoss
from openretina_jax.training.population import WHOLE, MemberCheckpoints, Population
from openretina_jax.training.sharding import Sharding, check_mesh
from openretina_jax.training.trainer import Trainer

_log = logging.getLogger(__name__)

IN_MEMORY = "arrays"  # data.source of a run on a data set that no file holds


@own_numbers()
def train(
    config: ml_collections.ConfigDict,
    workdir: Path,
    console: Console,
    profile: bool = False,
    dataset: Dataset | None = None,
    callbacks: Sequence[Callback] = (),
    dry_run: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Train, or go on training, what ``config`` describes; report at the end.

    Args:
        config: see ``configs/``.
        workdir: everything of the run goes there: a folder, or an address of an object store.
        console: for the live display and the summary.
        profile: whether to write a trace of the second epoch.
        dataset: what to train on instead of ``config.data`` (None: that).
        callbacks: followers of the run besides those of the configuration.
        dry_run: whether to stop when all is ready, and say what would be trained.
        origin: where the settings come from, see ``provenance.origin``; it goes with every checkpoint.

    Raises:
        UserError: anything wrong with the configuration, the data or the workdir.
    """
    settings = resolved(config.to_dict())
    check_before_data(settings)
    with opened(workdir, dry_run) as (folder, kept):
        _train(settings, folder, kept, console, profile, dataset, callbacks, dry_run, origin or {})


def _train(
    settings: dict[str, Any],
    workdir: Path,
    kept: KeptFolder | None,
    console: Console,
    profile: bool,
    dataset: Dataset | None,
    callbacks: Sequence[Callback],
    dry_run: bool,
    origin: Mapping[str, Any],
) -> None:
    """Read the data, make the model, and train in a workdir that is open; see ``train`` and ``opened``."""
    use_compilation_cache()
    if dataset is None:
        with first_before_others():
            dataset = make_dataset(settings["data"], cache_folder() / "simulated", show_progress)
    else:
        settings["data"] = {"source": IN_MEMORY} | json.loads(json.dumps(dataset.source))
    if settings["start_from"] is None and starts_at_location(settings["model"]["readout"]):
        from openretina_jax.data.locations import with_locations  # scipy.stats takes a second to import

        dataset = with_locations(dataset)
    _log.info(
        "%s in %s, %d with a mirrored stimulus",
        counted(dataset.n_neurons, "neuron"),
        counted(len(dataset.sessions), "session"),
        sum(session.mirrored for session in dataset.sessions),
    )
    with ThreadPoolExecutor(1) as beside:
        content = beside.submit(fingerprint, dataset)
        trainer, members = make_trainer(settings, dataset)
        data = make_feed(settings, dataset, trainer)
    model = trainer.start
    about: dict[str, Any] = {
        "config": json.loads(json.dumps(settings | {"model": model.options})),
        "data_info": json.loads(model.data_info.to_json()),
        CONTENT: content.result(),
        VERSIONS: versions(),
        **origin,
    }
    if dry_run:
        check_same_run(workdir, about)
        for line in plan(settings, trainer, data, shown(workdir, kept)):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        return
    with contextlib.ExitStack() as held:
        if is_first():
            held.enter_context(locked(workdir / "run", wait=False, remedy="wait for it, or give another --workdir"))
        run(settings, about, data, trainer, members, workdir, kept, console, profile, callbacks)


@contextlib.contextmanager
def opened(workdir: Path, dry_run: bool = False) -> Iterator[tuple[Path, KeptFolder | None]]:
    """Open a workdir: a folder of this machine, or one for what is kept at an address, a folder for each process.

    Raises:
        UserError: it cannot be read or written.
    """
    address = address_of(workdir)
    if address is None:
        folder = local_folder(workdir)
        if not dry_run:
            check_writable(folder, remedy="give a --workdir that can be written")
        yield folder, None
        return
    with contextlib.ExitStack() as held:
        with first_before_others():  # which then read what it has read
            kept = held.enter_context(kept_folder(address, cache_folder(), jax.process_index()))
        if is_first() and not dry_run:
            kept.store.check_writable()
        yield kept.folder, kept


def shown(workdir: Path, kept: KeptFolder | None) -> str:
    """Where users find a workdir."""
    return str(workdir) if kept is None else kept.store.address


def check_before_data(settings: Mapping[str, Any]) -> None:
    """Refuse what is wrong whatever the data are, before they are read.

    Raises:
        UserError: a callback, a score, an order of windows, the run to start from or the devices are not there.
    """
    check_callbacks(settings)
    check_score(settings)
    SAMPLERS[settings["train"]["order"]]
    if settings["start_from"] is not None:
        check_exists(settings["start_from"])
    if settings["population"]["size"] is not None:
        check_on_one_device(settings["mesh"])
    check_mesh(settings["mesh"])


def check_score(settings: Mapping[str, Any]) -> None:
    """Refuse a score that is not there, and the loss as a score where the objective has none of single frames.

    Raises:
        UserError: says what to take.
    """
    score, loss = SCORES[with_kind(settings["stopping"]["score"])["kind"]], settings["objective"]["loss"]["kind"]
    if not issubclass(score, LossScore):
        return
    of_what = "an autoencoder" if settings["autoencoder"]["hidden"] is not None else f'the loss "{loss}" of windows'
    if settings["autoencoder"]["hidden"] is not None or not issubclass(LOSSES[loss], FrameLoss):
        raise UserError(
            f'config.stopping.score is "loss", a mean over frames, which {of_what} does not have; take "correlation"'
        )


def check_on_one_device(axes: Mapping[str, int]) -> None:
    """Refuse to spread a population over devices.

    Raises:
        UserError: says what to do.
    """
    if max(axes.values()) > 1:
        raise UserError(
            f"config.mesh is {dict(axes)}, but a population trains on one device; leave config.mesh as it is, or train "
            "the members as single runs"
        )


def run(
    settings: Mapping[str, Any],
    about: Mapping[str, Any],
    data: Feed,
    trainer: Trainer,
    members: Sequence[Mapping[str, float | int]],
    workdir: Path,
    kept: KeptFolder | None,
    console: Console,
    profile: bool,
    callbacks: Sequence[Callback],
) -> None:
    """Train in a workdir that no other run uses, and report; see ``train``.

    Args:
        settings, data, trainer, members: of the run.
        about: what goes with every checkpoint.
        workdir, kept: see ``opened``.
        console, profile, callbacks: as in ``train``.

    Raises:
        UserError: the workdir holds another run, or cannot be written.
    """
    check_same_run(workdir, about)
    check_writable(workdir / "metrics.csv", remedy="give a --workdir that can be written")
    if kept is not None and is_first():
        kept.claim()
    place = workdir / (WHOLE if members else "checkpoints")
    checkpoints = Checkpoints(place, about, kept)
    with matmul_precision(settings["train"]["matmul_precision"]):
        followers = make_callbacks(about["config"], workdir=workdir, trainer=trainer, data=data, console=console)
        if members:
            abouts = [{**about, "config": with_values(about["config"], values)} for values in members]
            followers.insert(0, MemberCheckpoints(workdir, abouts))
        if profile:
            followers.insert(0, Profile(workdir))
        followers.extend(callbacks)
        with Callbacks(followers) as all_followers:
            result = fit(trainer, data, checkpoints, epochs=settings["train"]["epochs"], callbacks=followers)
            if not result.finished:
                console.print(f"stopped after epoch {result.epochs}; the same command goes on from there")
                return
            scores, files = conclude(result, trainer, members, data, workdir, settings, console)
            all_followers.on_test_end(scores, finished_files(workdir), f"{shown(workdir, kept)}/{files[0][1]}")
    if settings["logging"]["tensorboard"]:
        files.append(("tensorboard", "tensorboard"))
    for name, file in files:
        console.print(f"{name:<12}{shown(workdir, kept)}/{file}", highlight=False, markup=False, soft_wrap=True)


def plan(settings: Mapping[str, Any], trainer: Trainer, data: Feed, workdir: str) -> list[str]:
    """What would be trained: the model by its parts, the steps, and what the data take on the device."""
    from openretina_jax.models.summary import summary  # imports pandas, which runs need only at their end

    model = trainer.start
    lines = [f"model, which predicts from frame {model.lag} on"]
    if isinstance(model, CoreReadout):
        for part, row in summary(model).iterrows():
            parameters, products = row["parameters"], row["multiplications"]
            lines.append(f"  {part:<28}{parameters:>12,} parameters {products:>14,} multiplications a frame")
    else:
        count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
        lines.append(f"  {type(model).__name__}, {count:,} parameters")
    epochs, steps = settings["train"]["epochs"], data.steps_per_epoch
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(data.recordings) if hasattr(leaf, "nbytes"))
    place = "on the device" if data.on_device else "on the device, and movies in the memory of the host"
    return [
        *lines,
        f"{steps} steps in an epoch, at most {epochs} epochs, {steps * epochs:,} steps",
        f"recordings: {size / 1e6:,.0f} MB {place}",
        f"the run would be in {workdir}",
    ]


def conclude(
    result: FitResult,
    trainer: Trainer,
    members: Sequence[Mapping[str, float | int]],
    data: Feed,
    workdir: Path,
    settings: Mapping[str, Any],
    console: Console,
) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """Test what was trained, and say how good it is.

    Returns:
        Mean correlation of every split, and what lies where in the workdir, the best checkpoint first.
    """
    from openretina_jax.experiment.report import report, report_members  # draws: matplotlib takes a second to import

    lines: list[str] = []
    files = [("checkpoint", f"checkpoints/{result.best_epoch}")]
    if not members:
        model = trainer.model(result.state)
    else:
        best, lines = report_members(data, members, workdir, settings["population"]["ensemble"])
        model = load_model(best)
        files = [
            ("best member", f"{best.relative_to(workdir)}/checkpoints/{result.best_epoch}"),
            ("ensemble", "ensemble"),
            ("members", "members.csv"),
        ]
    with data.sharding.active():
        scores, of_model = report(result, model, data, workdir)
    for line in lines + of_model:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return scores, [*files, ("neurons", "neurons.csv"), ("metrics", "metrics.csv"), ("pictures", "*.png")]


def make_feed(settings: Mapping[str, Any], dataset: Dataset, trainer: Trainer) -> Feed:
    """The data of the run, from ``config.train`` and ``config.mesh``.

    Raises:
        UserError: there is no such order of windows, or the data or the devices do not allow such windows.
    """
    options, model, population = settings["train"], trainer.start, isinstance(trainer, Population)
    order = options["order"]
    data = Feed(
        dataset,
        functools.partial(make_sampler, order, seed=settings["seed"], **order_options(options)),
        per_session=model.per_session,
        with_behaviour=model.reads_behaviour,
        accumulate=trainer.recipe.accumulate,
        sharding=make_sharding(settings["mesh"], model, population),
        on_device=options["frames_on_device"],
    )
    if population and not data.on_device:
        raise UserError("a population needs its movies on the device; set config.train.frames_on_device to True")
    return data


def make_sharding(axes: Mapping[str, int], model: Model, population: bool) -> Sharding:
    """What lies on which device, from ``config.mesh``; a population is on one.

    Raises:
        UserError: the devices do not fit, or a population was to be spread over some.
    """
    if not population:
        return Sharding(axes, model.data_info.n_neurons)
    check_on_one_device(axes)
    return Sharding({axis: 1 for axis in axes}, model.data_info.n_neurons)


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, small ones too, so that the next run starts at once."""
    folder = cache_folder() / "xla"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _log.info("compiled programs are kept in %s", folder)


def local_folder(workdir: Path) -> Path:
    """A workdir of this machine as an absolute path, with ``~`` as the home.

    Raises:
        UserError: there is no such home.
    """
    try:
        return workdir.expanduser().absolute()
    except RuntimeError as error:
        raise UserError(f"--workdir is {workdir}: {error}; give the whole path") from error
