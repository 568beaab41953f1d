"""Functions, signatures, clients and responses of every SDK are the same with instrumentation."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import pydoc
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pickle import PicklingError
from typing import Any, Final, NamedTuple

import pytest
import wrapt

from promptcache import PromptCacheInstrumentor
from promptcache.patching.registry import HOOK_MODULES, import_hooks
from tests.support.call_shapes import CHAT, iterate, resolve
from tests.support.sdks import KITS, Kit
from tests.support.telemetry import Telemetry

# google-genai 3.4 makes a subclass that aiohttp 3.14 warns of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)


class HookedMethod(NamedTuple):
    """A method that promptcache wraps while it is instrumented."""

    owner: type
    name: str

    @property
    def function(self) -> Any:
        return self.owner.__dict__[self.name]


def is_importable(module: str) -> bool:
    """Return whether a module can be imported. This imports its parent packages."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def find_hooked_methods() -> Iterator[HookedMethod]:
    for module in HOOK_MODULES:
        if is_importable(module):
            imported = import_module(module)
            for hook in import_hooks(module):
                owner = getattr(imported, hook.class_name, None)
                if owner is not None and hook.method_name in owner.__dict__:
                    yield HookedMethod(owner, hook.method_name)


HOOKED_METHODS: Final = tuple(find_hooked_methods())
CASES: Final = [
    pytest.param(kit, kind, id=f"{kit.name}-{kind}") for kit in KITS for kind in kit.clients
]


def current_functions() -> list[Any]:
    return [method.function for method in HOOKED_METHODS]


@pytest.fixture
def restore_functions() -> Iterator[None]:
    """Restore every hooked method after the test."""
    before = current_functions()
    yield
    if PromptCacheInstrumentor().is_instrumented_by_opentelemetry:
        PromptCacheInstrumentor().uninstrument()
    for method, function in zip(HOOKED_METHODS, before, strict=True):
        setattr(method.owner, method.name, function)


def test_a_thousand_reinstrumentations_restore_the_identical_functions() -> None:
    before = current_functions()
    assert len(before) > 20
    instrumentor = PromptCacheInstrumentor()
    for _ in range(1000):
        instrumentor.instrument()
        assert current_functions()[0] is not before[0]
        instrumentor.uninstrument()
    assert all(now is then for now, then in zip(current_functions(), before, strict=True))


def describe_function(function: Any) -> list[Any]:
    """Return all that an application or a tool can inspect of a function."""
    kinds = (
        inspect.isfunction,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    )
    names = [
        getattr(function, name) for name in ("__name__", "__qualname__", "__module__", "__doc__")
    ]
    return [
        *names,
        function.__annotations__,
        inspect.signature(function),
        pydoc.render_doc(function),
        *(kind(function) for kind in kinds),
    ]


def test_signature_kind_and_help_of_each_function_are_unchanged(telemetry: Telemetry) -> None:
    classes = sorted({method.owner for method in HOOKED_METHODS}, key=repr)
    assert [pydoc.render_doc(owner) for owner in classes], (
        "this creates the annotations of some classes"
    )
    descriptions, wrappers = (
        [describe_function(function) for function in current_functions()],
        current_functions(),
    )
    help_texts = [pydoc.render_doc(owner) for owner in classes]
    PromptCacheInstrumentor().uninstrument()
    assert all(now is not then for now, then in zip(current_functions(), wrappers, strict=True))
    assert descriptions == [describe_function(function) for function in current_functions()]
    assert help_texts == [pydoc.render_doc(owner) for owner in classes]


def test_wrapped_functions_are_pickled_by_name(telemetry: Telemetry) -> None:
    methods_of_top_level_classes = [
        method for method in HOOKED_METHODS if method.owner.__qualname__ == method.owner.__name__
    ]
    pickled = [pickle.dumps(method.function) for method in methods_of_top_level_classes]
    assert all(
        pickle.loads(data) is method.function
        for data, method in zip(pickled, methods_of_top_level_classes, strict=True)
    )
    PromptCacheInstrumentor().uninstrument()
    assert pickled == [pickle.dumps(method.function) for method in methods_of_top_level_classes]


def result_or_error_type(step: Callable[[], Any]) -> str:
    """Return the type of the result of a step, or of its exception."""
    try:
        result: Any = step()
        return str(result.__class__)
    except (PicklingError, TypeError, AttributeError, NotImplementedError, RecursionError) as error:
        return str(type(error))


@pytest.mark.parametrize(("kit", "kind"), CASES)
async def test_clients_behave_as_without_instrumentation(
    kit: Kit, kind: str, emulator_url: str, instrumented: Callable[..., Telemetry]
) -> None:
    async def observe() -> list[Any]:
        async with kit.clients[kind](emulator_url) as client:
            untyped: Any = client
            steps = (
                lambda: copy.copy(client),
                lambda: client.with_options(timeout=9),
                lambda: client.copy(),
                lambda: pickle.dumps(client),
                lambda: pickle.dumps(client.close),
            )
            # botocore makes a class for every client.
            names = [base.__qualname__ for base in untyped.__class__.__mro__]
            return [
                *map(result_or_error_type, steps),
                names,
                sorted(untyped.__dict__),
                dir(untyped.__class__),
            ]

    before = await observe()
    instrumented()
    assert await observe() == before


def type_of(value: Any) -> Any:
    """Return the type of a value, or its name where the SDK makes the type anew for each client.

    google-genai defines its aiohttp session class inside a function, so two plain clients differ in
    it too.
    """
    kind: Any = value.__class__
    return (kind.__module__, kind.__qualname__) if "<locals>" in kind.__qualname__ else kind


def describe_value(value: Any, depth: int = 3) -> Any:
    """Return types and names of a response and its attributes. Ids and times differ per call."""
    untyped: Any = value  # a type checker does not know narrowed container types
    members: dict[str, Any] = dict(
        untyped if isinstance(value, Mapping) else getattr(value, "__dict__", ())
    )
    if type(untyped).__module__.startswith("aiohttp."):
        # Its private fields change while bytes arrive.
        members = {name: item for name, item in members.items() if not name.startswith("_")}
    return type_of(untyped), {
        name: describe_value(member, depth - 1) for name, member in members.items()
    } if members and depth else None


ADDITIONAL_CALLS: Final[Mapping[tuple[str, bool], Callable[[Any], Any]]] = {
    ("groq", False): lambda client: client.chat.completions.create(**CHAT),
    ("groq", True): lambda client: client.chat.completions.create(**CHAT, stream=True),
    ("google", False): lambda client: client.models.generate_content(
        model="gemini-2.5-flash", contents="Hi."
    ),
    ("bedrock", False): lambda client: client.converse(
        modelId="amazon.nova-pro-v1:0", messages=[{"role": "user", "content": [{"text": "Hi."}]}]
    ),
}
"""Calls that the kits do not make themselves."""


def list_calls(kit: Kit, stream: bool) -> list[Callable[[Any], Any]]:
    """Return the functions that call a client and return a response or a stream."""
    started = [functools.partial(start, stream=stream) for start in kit.starts.values()]
    additional = (
        [ADDITIONAL_CALLS[kit.name, stream]] if (kit.name, stream) in ADDITIONAL_CALLS else []
    )
    return [*started, *(kit.streams if stream else ()), *additional]


UNTRACED: Final = [
    pytest.param(kit, kind, id=f"{kit.name}-{kind}")
    for kit in KITS
    for kind in ([kind for kind in kit.clients if "untraced" in kind] or kit.clients)
]
"""Clients without their own tracing, because that changes the responses by itself."""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kit", "kind"), UNTRACED)
async def test_responses_equal_those_without_instrumentation(
    kit: Kit, kind: str, stream: bool, emulator_url: str, instrumented: Callable[..., Telemetry]
) -> None:
    async def observe() -> list[Any]:
        descriptions: list[Any] = []
        async with kit.clients[kind](emulator_url) as client:
            for call in list_calls(kit, stream):
                response = await resolve(call(client))
                items = [item async for item in iterate(response)] if stream else [response]
                descriptions += [describe_value(response, 4), *map(describe_value, items)]
                descriptions += (
                    []
                    if stream
                    else [
                        pickle.loads(pickle.dumps(response)) == response,
                        copy.deepcopy(response) == response,
                    ]
                )
        return descriptions

    await observe()
    before = await observe()
    instrumented()
    assert before
    assert await observe() == before


def derive_class(client: Any) -> None:
    """Make the client an instance of a subclass whose methods call the hooked methods."""
    base: Any = client.__class__

    def make_override(name: str) -> Callable[..., Any]:
        def override(self: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(base, name)(self, *args, **kwargs)

        return override

    overrides = {
        method.name: make_override(method.name)
        for method in HOOKED_METHODS
        if method.owner in base.__mro__
    }
    client.__class__ = type("Mine", (base,), overrides)


@pytest.mark.parametrize("before_instrumenting", [False, True])
@pytest.mark.parametrize(("kit", "kind"), CASES)
async def test_calls_of_subclassed_clients_are_recorded_once(
    kit: Kit, kind: str, before_instrumenting: bool, emulator_url: str, restore_functions: None
) -> None:
    telemetry, shape = Telemetry(), kit.shapes[1]
    async with kit.clients[kind](emulator_url) as client:
        await shape.use(client)
        without = await shape.use(client)
        if before_instrumenting:
            derive_class(client)
        telemetry.instrument()
        if not before_instrumenting:
            derive_class(client)
        assert await shape.use(client) == without
        assert len(telemetry.calls) == 1
        PromptCacheInstrumentor().uninstrument()
        assert await shape.use(client) == without
        assert len(telemetry.calls) == 1


def wrap_with_functools(function: Any) -> Any:
    def theirs(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return functools.wraps(function)(
        async_wrapper if inspect.iscoroutinefunction(function) else theirs
    )


def wrap_with_wrapt(function: Any) -> Any:
    def theirs(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    return wrapt.FunctionWrapper(function, theirs)


@pytest.mark.parametrize("wrap", [wrap_with_functools, wrap_with_wrapt])
@pytest.mark.parametrize(("kit", "kind"), CASES)
async def test_a_wrapper_of_another_instrumentation_over_ours_stays(
    kit: Kit, kind: str, wrap: Callable[[Any], Any], emulator_url: str, restore_functions: None
) -> None:
    telemetry, shape = Telemetry(), kit.shapes[1]
    async with kit.clients[kind](emulator_url) as client:
        await shape.use(client)
        without = await shape.use(client)
        telemetry.instrument()
        for method in HOOKED_METHODS:
            setattr(method.owner, method.name, wrap(method.function))
        theirs = current_functions()
        assert await shape.use(client) == without
        assert len(telemetry.calls) == 1
        PromptCacheInstrumentor().uninstrument()
        assert await shape.use(client) == without
        assert len(telemetry.calls) == 1, "promptcache is uninstrumented"
        telemetry.instrument()
        assert all(now is then for now, then in zip(current_functions(), theirs, strict=True))
        assert await shape.use(client) == without
        assert len(telemetry.calls) == 2, "our wrapper is still below theirs, once"
        PromptCacheInstrumentor().uninstrument()
        assert all(now is then for now, then in zip(current_functions(), theirs, strict=True))


PROGRAM: Final = """
import sys
from promptcache import PromptCacheInstrumentor
PromptCacheInstrumentor().instrument()
import openai, anthropic, groq, boto3
url, messages = sys.argv[1], [{"role": "user", "content": "hi"}]
with openai.OpenAI(base_url=url + "/v1", api_key="k") as client:
    response = client.chat.completions.create(model="gpt-5.4", messages=messages)
    arguments = {"model": "gpt-5.4", "messages": messages}
    for chunk in client.chat.completions.create(**arguments, stream=True): pass
with anthropic.Anthropic(base_url=url, api_key="k") as client:
    arguments = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": messages}
    for event in client.messages.create(**arguments, stream=True): pass
with groq.Groq(base_url=url, api_key="k") as client:
    client.chat.completions.create(model="gpt-5.4", messages=messages)
keys = {"aws_access_key_id": "a", "aws_secret_access_key": "s"}
client = boto3.client("bedrock-runtime", "us-east-1", endpoint_url=url, **keys)
messages = [{"role": "user", "content": [{"text": "hi"}]}]
arguments = {"modelId": "amazon.nova-pro-v1:0", "messages": messages}
client.converse(**arguments)
for event in client.converse_stream(**arguments)["stream"]: pass
client.close()
PromptCacheInstrumentor().uninstrument()
print(response.object)
"""


def test_instrumented_calls_cause_no_warning(emulator_url: str) -> None:
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", PROGRAM, emulator_url]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.stdout, process.stderr) == ("chat.completion\n", "")
