"""Settings every test of the repository runs under."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

# Before torch, NumPy or OpenCV are imported: two workers with one thread each beat one pool fighting another.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# A shell lets its background jobs, of which this may be one, ignore interrupts; tests send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # pragma: no cover - a member's own environment may lack the test tools
    pass
else:
    # No deadline: a shared CI machine stalls for reasons that are no property of the code.
    settings.register_profile(
        "repository", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("repository")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A file whose tests are all slow has passed where those are left out: Pants runs file by file."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    nothing = exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and not session.config.option.keyword
    if nothing and reporter and reporter.stats.get("deselected"):
        session.exitstatus = pytest.ExitCode.OK


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device", default="cuda", help="where tests marked gpu run; cpu tries them without one"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked gpu skip without one; torch is imported for them alone."""
    wanted = item.get_closest_marker("gpu") is not None and item.config.getoption("--device") != "cpu"
    if wanted and not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("needs a GPU (--device cpu tries it without one)")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a test marked gpu computes, convolutions in full float32 as torch's other products are."""
    torch = pytest.importorskip("torch")
    torch.backends.cudnn.allow_tf32, before = False, torch.backends.cudnn.allow_tf32
    yield request.config.getoption("--device")
    torch.backends.cudnn.allow_tf32 = before


def moved(value: Any, device: str, dtype: Any) -> Any:
    """A batch, or any nest of tensors, on a device, its floating-point tensors leaves of a dtype."""
    if isinstance(value, dict):
        return {name: moved(part, device, dtype) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(moved(part, device, dtype) for part in value)
    if not hasattr(value, "is_floating_point"):
        return value
    found = value.detach().to(device, dtype if value.is_floating_point() else value.dtype, copy=True)
    return found.requires_grad_(value.requires_grad)


Bounds = tuple[float, float]
"""Relative error of a loss, and of its gradient in norm."""


@pytest.fixture
def against_float64(device: str) -> Callable[..., None]:
    """Compare a module's loss and gradient on the device with those of a copy in float64 on the CPU.

    The gradient is of the module's parameters and of the inputs that require one; in bfloat16 by autocast.
    """
    torch = pytest.importorskip("torch")

    def loss_and_gradient(module: Any, inputs: Any, autocast: bool) -> tuple[Any, Any]:
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            found = module(inputs) if isinstance(inputs, dict) else module(*inputs)
        loss = found["loss"] if isinstance(found, dict) else found
        loss.backward()
        leaves = [*module.parameters(), *(inputs.values() if isinstance(inputs, dict) else inputs)]
        gradients = [leaf.grad for leaf in leaves if getattr(leaf, "grad", None) is not None]
        return loss.detach().cpu().double(), torch.cat([part.flatten().cpu().double() for part in gradients])

    def compare(module: Any, inputs: Any, float32: Bounds, bfloat16: Bounds) -> None:
        exact = copy.deepcopy(module).double()
        loss, gradient = loss_and_gradient(exact, moved(inputs, "cpu", torch.float64), False)
        assert gradient.any()
        for bounds, autocast in ((float32, False), (bfloat16, True)):
            there = copy.deepcopy(module).to(device)
            found, slope = loss_and_gradient(there, moved(inputs, device, torch.float32), autocast)
            errors = (
                ((found - loss).abs() / loss.abs()).item(),
                ((slope - gradient).norm() / gradient.norm()).item(),
            )
            assert errors[0] <= bounds[0] and errors[1] <= bounds[1], (
                f"relative errors of loss and gradient {errors} in {'bfloat16' if autocast else 'float32'}"
            )

    return compare


WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "unique_", "bincount", "lift_fresh")
"""Operators that wait for a device: they read a value, make a shape of values, or copy from the host."""


@pytest.fixture
def host_reads() -> Callable[[], AbstractContextManager[list[str]]]:
    """A context that lists what would wait for a device inside it; on a GPU torch raises an error too."""
    torch = pytest.importorskip("torch")
    modes = pytest.importorskip("torch.utils._python_dispatch")

    def reads(name: str, args: Any) -> bool:
        places = args[1] if name.startswith("index") and len(args) > 1 else None
        masks = isinstance(places, (list, tuple)) and any(
            torch.is_tensor(place) and place.dtype in (torch.bool, torch.uint8) for place in places
        )
        return masks or name.startswith(WAITS)

    @contextmanager
    def listen() -> Iterator[list[str]]:
        found: list[str] = []

        class Listener(modes.TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if reads(name := func.overloadpacket.__name__, args):
                    found.append(name)
                return func(*args, **(kwargs or {}))

        def heard(plain: Any) -> Any:
            return lambda *args, **options: (found.append(plain.__name__), plain(*args, **options))[1]

        with pytest.MonkeyPatch.context() as patch, Listener():
            for method in ("tolist", "cpu", "numpy"):  # on the CPU they go past the operators
                patch.setattr(torch.Tensor, method, heard(getattr(torch.Tensor, method)))
            mode = torch.cuda.is_initialized() and torch.cuda.get_sync_debug_mode()
            if torch.cuda.is_initialized():
                torch.cuda.set_sync_debug_mode("error")
            try:
                yield found
            finally:
                if torch.cuda.is_initialized():
                    torch.cuda.set_sync_debug_mode(mode)

    return listen


@pytest.fixture(scope="session")
def released_adapters() -> Callable[[int, int, int], dict[str, Any]]:
    """Random weights of adapters by the names of VSLA-CLIP's release, from blocks, width and bottleneck."""
    torch = pytest.importorskip("torch")

    def make(layers: int, width: int, bottleneck: int) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for number in range(layers):
            block = f"image_encoder.transformer.resblocks.{number}"
            for adapter in ("dat", "dat_cross"):
                for name, shape in (("down", (bottleneck, width)), ("up", (width, bottleneck))):
                    state[f"{block}.{adapter}.{name}.weight"] = 0.1 * torch.randn(shape)
                    state[f"{block}.{adapter}.{name}.bias"] = 0.1 * torch.randn(shape[0])
            attention = torch.nn.MultiheadAttention(bottleneck, bottleneck // 64)
            for name, value in attention.state_dict().items():
                state[f"{block}.dat_cross.temporal_block.temporal_attn.{name}"] = value
        return state

    return make
