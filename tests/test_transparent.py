"""The application cannot tell: the same functions, signatures and results in every SDK, on, off and
on again."""

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
from promptcache.patching.registry import HOOK_MODULES, load_hooks
from tests.support.call_shapes import CHAT, iterate, resolve
from tests.support.sdks import KITS, Kit
from tests.support.telemetry import Telemetry

# google-genai 3.4 makes a subclass that aiohttp 3.14 warns of.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)


class Place(NamedTuple):
    """One function that we stand at while we are on."""

    owner: type
    name: str

    @property
    def function(self) -> Any:
        return self.owner.__dict__[self.name]


def _present(module: str) -> bool:
    """Whether it can be imported; asking for it imports its packages."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _places() -> Iterator[Place]:
    for module in HOOK_MODULES:
        if _present(module):
            imported = import_module(module)
            for target in load_hooks(module):
                owner = getattr(imported, target.class_name, None)
                if owner is not None and target.method_name in owner.__dict__:
                    yield Place(owner, target.method_name)


PLACES: Final = tuple(_places())
CASES: Final = [
    pytest.param(kit, kind, id=f"{kit.name}-{kind}") for kit in KITS for kind in kit.clients
]


def functions() -> list[Any]:
    return [place.function for place in PLACES]


@pytest.fixture
def restored() -> Iterator[None]:
    """What the test puts in place of a function is taken away."""
    before = functions()
    yield
    if PromptCacheInstrumentor().is_instrumented_by_opentelemetry:
        PromptCacheInstrumentor().uninstrument()
    for place, function in zip(PLACES, before, strict=True):
        setattr(place.owner, place.name, function)


def test_a_thousand_reinstrumentations_restore_the_identical_functions() -> None:
    before = functions()
    assert len(before) > 20
    instrumentor = PromptCacheInstrumentor()
    for _ in range(1000):
        instrumentor.instrument()
        assert functions()[0] is not before[0]
        instrumentor.uninstrument()
    assert all(now is then for now, then in zip(functions(), before, strict=True))


def described(function: Any) -> list[Any]:
    """All that an application, its tools and its reader can ask of a function."""
    kinds = (
        inspect.isfunction,
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    )
    named = [
        getattr(function, name) for name in ("__name__", "__qualname__", "__module__", "__doc__")
    ]
    return [
        *named,
        function.__annotations__,
        inspect.signature(function),
        pydoc.render_doc(function),
        *(kind(function) for kind in kinds),
    ]


def test_signature_kind_and_help_of_each_function_are_unchanged(telemetry: Telemetry) -> None:
    classes = sorted({place.owner for place in PLACES}, key=repr)
    assert [pydoc.render_doc(owner) for owner in classes], (
        "which gives some classes their annotations"
    )
    on, standing = [described(function) for function in functions()], functions()
    helped = [pydoc.render_doc(owner) for owner in classes]
    PromptCacheInstrumentor().uninstrument()
    assert all(now is not then for now, then in zip(functions(), standing, strict=True))
    assert on == [described(function) for function in functions()]
    assert helped == [pydoc.render_doc(owner) for owner in classes]


def test_wrapped_functions_are_pickled_by_name(telemetry: Telemetry) -> None:
    plain = [place for place in PLACES if place.owner.__qualname__ == place.owner.__name__]
    pickled = [pickle.dumps(place.function) for place in plain]
    assert all(
        pickle.loads(kept) is place.function for kept, place in zip(pickled, plain, strict=True)
    )
    PromptCacheInstrumentor().uninstrument()
    assert pickled == [pickle.dumps(place.function) for place in plain]


def outcome(step: Callable[[], Any]) -> str:
    """The type of what comes of it, or of what is raised."""
    try:
        made: Any = step()
        return str(made.__class__)
    except (PicklingError, TypeError, AttributeError, NotImplementedError, RecursionError) as error:
        return str(type(error))


@pytest.mark.parametrize(("kit", "kind"), CASES)
async def test_clients_behave_as_without_instrumentation(
    kit: Kit, kind: str, emulator_url: str, instrumented: Callable[..., Telemetry]
) -> None:
    async def seen() -> list[Any]:
        async with kit.clients[kind](emulator_url) as client:
            made: Any = client
            steps = (
                lambda: copy.copy(client),
                lambda: client.with_options(timeout=9),
                lambda: client.copy(),
                lambda: pickle.dumps(client),
                lambda: pickle.dumps(client.close),
            )
            names = [
                base.__qualname__ for base in made.__class__.__mro__
            ]  # botocore makes a class for every client
            return [*map(outcome, steps), names, sorted(made.__dict__), dir(made.__class__)]

    before = await seen()
    instrumented()
    assert await seen() == before


def type_of(value: Any) -> Any:
    """Return the type of a value, or its name where the SDK makes the type anew for each client.

    google-genai defines its aiohttp session class inside a function, so two plain clients differ in
    it too.
    """
    kind: Any = value.__class__
    return (kind.__module__, kind.__qualname__) if "<locals>" in kind.__qualname__ else kind


def shown(value: Any, deep: int = 3) -> Any:
    """A response with what hangs on it: types and names, for ids and times differ."""
    given: Any = value  # narrowed types of containers are unknown to a type checker
    held: dict[str, Any] = dict(
        given if isinstance(value, Mapping) else getattr(value, "__dict__", ())
    )
    return type_of(given), {
        name: shown(kept, deep - 1) for name, kept in held.items()
    } if held and deep else None


MORE: Final[Mapping[tuple[str, bool], Callable[[Any], Any]]] = {
    ("groq", False): lambda client: client.chat.completions.create(**CHAT),
    ("groq", True): lambda client: client.chat.completions.create(**CHAT, stream=True),
    ("google", False): lambda client: client.models.generate_content(
        model="gemini-2.5-flash", contents="Hi."
    ),
    ("bedrock", False): lambda client: client.converse(
        modelId="amazon.nova-pro-v1:0", messages=[{"role": "user", "content": [{"text": "Hi."}]}]
    ),
}
"""Beside what the kits themselves start."""


def asks(kit: Kit, stream: bool) -> list[Callable[[Any], Any]]:
    """What gives a response, or a stream."""
    started = [functools.partial(start, stream=stream) for start in kit.starts.values()]
    more = [MORE[kit.name, stream]] if (kit.name, stream) in MORE else []
    return [*started, *(kit.streams if stream else ()), *more]


UNTRACED: Final = [
    pytest.param(kit, kind, id=f"{kit.name}-{kind}")
    for kit in KITS
    for kind in ([kind for kind in kit.clients if "untraced" in kind] or kit.clients)
]
"""An SDK that traces itself changes its responses when that is switched on, which is not our
doing."""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("kit", "kind"), UNTRACED)
async def test_responses_equal_those_without_instrumentation(
    kit: Kit, kind: str, stream: bool, emulator_url: str, instrumented: Callable[..., Telemetry]
) -> None:
    async def seen() -> list[Any]:
        found: list[Any] = []
        async with kit.clients[kind](emulator_url) as client:
            for ask in asks(kit, stream):
                made = await resolve(ask(client))
                items = [item async for item in iterate(made)] if stream else [made]
                found += [shown(made, 4), *map(shown, items)]
                found += (
                    []
                    if stream
                    else [pickle.loads(pickle.dumps(made)) == made, copy.deepcopy(made) == made]
                )
        return found

    await seen()
    before = await seen()
    instrumented()
    assert before
    assert await seen() == before


def derived(client: Any) -> None:
    """Makes it one of a class that an application derived: it has each of our functions pass
    through its own."""
    base: Any = client.__class__

    def own(name: str) -> Callable[..., Any]:
        def passing(self: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(base, name)(self, *args, **kwargs)

        return passing

    passed = {place.name: own(place.name) for place in PLACES if place.owner in base.__mro__}
    client.__class__ = type("Mine", (base,), passed)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(("kit", "kind"), CASES)
async def test_calls_of_subclassed_clients_are_recorded_once(
    kit: Kit, kind: str, early: bool, emulator_url: str, restored: None
) -> None:
    telemetry, shape = Telemetry(), kit.shapes[1]
    async with kit.clients[kind](emulator_url) as client:
        await shape.use(client)
        without = await shape.use(client)
        if early:
            derived(client)
        telemetry.instrument()
        if not early:
            derived(client)
        assert await shape.use(client) == without
        assert len(telemetry.calls) == 1
        PromptCacheInstrumentor().uninstrument()
        assert await shape.use(client) == without
        assert len(telemetry.calls) == 1


def by_hand(function: Any) -> Any:
    def theirs(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    async def theirs_too(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return functools.wraps(function)(
        theirs_too if inspect.iscoroutinefunction(function) else theirs
    )


def by_wrapt(function: Any) -> Any:
    def theirs(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    return wrapt.FunctionWrapper(function, theirs)


@pytest.mark.parametrize("wrap", [by_hand, by_wrapt])
@pytest.mark.parametrize(("kit", "kind"), CASES)
async def test_a_wrapper_of_another_instrumentation_over_ours_stays(
    kit: Kit, kind: str, wrap: Callable[[Any], Any], emulator_url: str, restored: None
) -> None:
    telemetry, shape = Telemetry(), kit.shapes[1]
    async with kit.clients[kind](emulator_url) as client:
        await shape.use(client)
        without = await shape.use(client)
        telemetry.instrument()
        for place in PLACES:
            setattr(place.owner, place.name, wrap(place.function))
        theirs = functions()
        assert await shape.use(client) == without
        assert len(telemetry.calls) == 1
        PromptCacheInstrumentor().uninstrument()
        assert await shape.use(client) == without
        assert len(telemetry.calls) == 1, "ours is off"
        telemetry.instrument()
        assert all(now is then for now, then in zip(functions(), theirs, strict=True))
        assert await shape.use(client) == without
        assert len(telemetry.calls) == 2, "ours still stands below theirs, once"
        PromptCacheInstrumentor().uninstrument()
        assert all(now is then for now, then in zip(functions(), theirs, strict=True))


PROGRAM: Final = """
import sys
from promptcache import PromptCacheInstrumentor
PromptCacheInstrumentor().instrument()
import openai, anthropic, groq, boto3
url, said = sys.argv[1], [{"role": "user", "content": "hi"}]
with openai.OpenAI(base_url=url + "/v1", api_key="k") as client:
    made = client.chat.completions.create(model="gpt-5.4", messages=said)
    for chunk in client.chat.completions.create(model="gpt-5.4", messages=said, stream=True): pass
with anthropic.Anthropic(base_url=url, api_key="k") as client:
    for event in client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=said, stream=True): pass
with groq.Groq(base_url=url, api_key="k") as client:
    client.chat.completions.create(model="gpt-5.4", messages=said)
keys = {"aws_access_key_id": "a", "aws_secret_access_key": "s"}
client = boto3.client("bedrock-runtime", "us-east-1", endpoint_url=url, **keys)
asked = {"modelId": "amazon.nova-pro-v1:0", "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
client.converse(**asked)
for event in client.converse_stream(**asked)["stream"]: pass
client.close()
PromptCacheInstrumentor().uninstrument()
print(made.object)
"""


def test_instrumented_calls_cause_no_warning(emulator_url: str) -> None:
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", PROGRAM, emulator_url]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("chat.completion\n", "")
