import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from openretina_jax.modules.convolutions import CONVOLUTIONS
from openretina_jax.modules.temporal_basis import (
    fade_in,
    temporal_basis,
    temporal_coefficients,
    temporal_functions,
    temporal_smoothness,
)
from tests.goldens_case import Case, cases, every_case
from tests.module_goldens import channels_last, check_module, with_gradients

CLASSES = {
    "STSeparableBatchConv3d": "custom_separable",
    "TorchSTSeparableConv3D": "separable",
    "TorchFullConv3D": "full",
    "TimeIndependentConv3D": "time_independent",
}
CASES = cases("conv")
LOWERINGS = {"custom_separable": ("dense", "factored")}


def build(case: Case, convolution: str, lowering: str | None) -> nnx.Module:
    kwargs = case.kwargs
    stride = kwargs.get("stride", 1)
    padding = kwargs.get("padding", 0)
    second = kwargs.get("spatial_kernel_size2")
    options = {"subsampling": kwargs["subsampling_factor"]} if "subsampling_factor" in kwargs else {}
    if lowering is not None:
        options["lowering"] = lowering
    return CONVOLUTIONS[convolution](
        kwargs["in_channels"],
        kwargs["out_channels"],
        kwargs["temporal_kernel_size"],
        (kwargs["spatial_kernel_size"], second if second else kwargs["spatial_kernel_size"]),
        padding=tuple(padding) if isinstance(padding, list) else padding,
        strides=(stride,) * 3 if isinstance(stride, int) else tuple(stride),
        bias=kwargs.get("bias", True),
        rngs=nnx.Rngs(0),
        **options,
    )


def check_convolution(case: Case) -> None:
    convolution = CLASSES[case.entry["path"].rsplit(".", 1)[1]]
    strided = case.kwargs.get("stride", 1) != 1
    session = case.entry["call"].rpartition(", '")[2].removesuffix("'))") if "sess" in case.entry["call"] else None
    speed_name = f"log_speed_{session}" if session else "_log_speed_default"
    for lowering in LOWERINGS.get(convolution, (None,)):
        if lowering == "factored" and strided:
            continue
        module = build(case, convolution, lowering)
        takes_speed = convolution in ("custom_separable", "separable")
        speed = jnp.asarray(case.array(f"param/{speed_name}")) if takes_speed else None
        check_module(
            case,
            module,
            call=(lambda m, x, speed=speed: m(x, log_speed=speed)) if takes_speed else (lambda m, x: m(x)),
            ignore=r"log_speed_sess",
        )
        if session and convolution in ("custom_separable", "separable"):
            check_speed_gradient(case, module, speed, speed_name)
        if convolution == "custom_separable":
            check_kernels(case, module, speed[0])


def check_speed_gradient(case: Case, module: nnx.Module, speed: jax.Array, name: str) -> None:
    x, cotangent = (channels_last(case.array(key)) for key in ("input/x", "cotangent"))
    gradient = jax.jit(jax.grad(lambda s: (module(x, log_speed=s) * cotangent).sum()))(speed)
    case.check(f"grad/{name}", gradient)


def check_kernels(case: Case, module: nnx.Module, speed: jax.Array) -> None:
    temporal = module.temporal(speed)
    case.check("temporal_weight", temporal[..., None, None])
    case.check("assembled_weight", jnp.einsum("oit,oihw->oithw", temporal, module.spatial[...]))
    default = module.temporal(jnp.asarray(case.array("param/_log_speed_default")[0]))
    case.check("get_temporal_weight_0_1", default[1, 0])
    case.check("get_temporal_weight_max", jnp.abs(default).max())
    case.check("get_spatial_weight_0_1", module.spatial[1, 0])


def check_kernel(case: Case) -> None:
    log_speed, sin, cos = (jnp.asarray(case.array(f"input/{name}")) for name in ("log_speed", "sin", "cos"))
    sizes = (case.kwargs["length"], case.kwargs["subsampling_factor"])

    def kernel(speed: jax.Array, sin: jax.Array, cos: jax.Array) -> jax.Array:
        return (temporal_coefficients(sin, cos) @ temporal_functions(speed[0], *sizes))[..., None, None]

    output, *gradients = jax.jit(with_gradients(kernel))(case.array("cotangent"), log_speed, sin, cos)
    case.check("output", output)
    for name, gradient in zip(("log_speed", "sin", "cos"), gradients, strict=True):
        case.check(f"grad_input/{name}", gradient)


def check_basis(case: Case) -> None:
    length, subsampling = case.kwargs["length"], case.kwargs["subsampling_factor"]

    def basis(stretch: jax.Array) -> dict[str, jax.Array]:
        sines, cosines = temporal_basis(stretch[0], length, subsampling)
        mask = fade_in(jnp.arange(-length, 0, dtype=jnp.float32), stretch[0], length)
        return {"sines": sines, "cosines": cosines, "mask": mask}

    cotangent = {name: case.array(f"cotangent/{name}") for name in ("sines", "cosines", "mask")}
    output, gradient = jax.jit(with_gradients(basis))(cotangent, case.array("input/stretch"))
    for name, value in output.items():
        case.check(f"output/{name}", value)
    case.check("grad_input", gradient)


def check_fade_in(case: Case) -> None:
    time, stretches = (jnp.asarray(case.array(f"input/{name}")) for name in ("time", "stretch"))
    masks = jax.vmap(lambda stretch: fade_in(time, stretch, case.kwargs["T"]))(stretches[:, 0])
    case.check("output", masks.T)


def check_smoothness(case: Case) -> None:
    arrays = [jnp.asarray(case.array(f"input/{name}")) for name in ("sin", "cos")]
    value, gradients = jax.jit(jax.value_and_grad(temporal_smoothness, argnums=(0, 1)))(*arrays)
    case.check("output", value)
    for name, gradient in zip(("sin", "cos"), gradients, strict=True):
        case.check(f"grad_input/{name}", case.array("cotangent") * gradient)


FUNCTIONS = {
    "compute_temporal_kernel": check_kernel,
    "temporal_basis": check_basis,
    "mask_tf": check_fade_in,
    "temporal_smoothing": check_smoothness,
}


@every_case(CASES)
def test_convolution_group(case: Case) -> None:
    """Every case of the group; one that is not known is a KeyError."""
    if case.entry["kind"] == "module":
        check_convolution(case)
    else:
        FUNCTIONS[case.entry["path"].rsplit(".", 1)[1]](case)


def test_basis_of_several_speeds() -> None:
    """The reference fails on several speeds at once; one basis per speed is what its docstring promises."""
    stretches = jnp.asarray([0.8, 1.0, 1.3])
    sines, _ = jax.vmap(lambda stretch: temporal_basis(stretch, 9, 3))(stretches)
    for row, stretch in zip(sines, stretches, strict=True):
        np.testing.assert_allclose(row, temporal_basis(stretch, 9, 3)[0], atol=1e-7)
