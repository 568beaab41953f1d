"""Install the hooks of one SDK module, and remove them again."""

from __future__ import annotations

from collections.abc import Callable
from logging import getLogger
from typing import Any, Final, NamedTuple

from promptcache.patching.hook import HandlerRef, Hook, is_compatible
from promptcache.patching.wrapping import make_wrapper
from promptcache.telemetry.handler import TelemetryHandler

log = getLogger("promptcache")


def warn_unsupported_sdk_release(location: str) -> None:
    """Log that a new release of an SDK has no compatible module or function at `location`."""
    log.warning(
        "promptcache does not know this release: %s has moved; calls that pass there are not seen",
        location,
    )


class FunctionPatch(NamedTuple):
    """One wrapped function."""

    owner: type
    name: str
    original: Callable[..., Any]
    wrapper: Callable[..., Any]
    handler_ref: HandlerRef

    def is_installed(self) -> bool:
        """Return whether our wrapper is in the chain of wrappers, outermost or not."""
        function = self.owner.__dict__.get(self.name)
        while function is not None:
            if function is self.wrapper:
                return True
            function = getattr(function, "__wrapped__", None)
        return False

    def remove_or_disable(self) -> None:
        """Remove the wrapper if it is the outermost one.

        Any other wrapper only calls the original from now on.
        """
        self.handler_ref.handler = None
        if self.owner.__dict__.get(self.name) is self.wrapper:
            setattr(self.owner, self.name, self.original)


class ModulePatcher:
    """All patches of one module, with one reference to the handler."""

    def __init__(self) -> None:
        self.module: object = None
        self._handler_ref: Final = HandlerRef()
        self._patches: list[FunctionPatch] = []
        self._warned_locations: set[str] = set()

    @property
    def has_patches(self) -> bool:
        """Whether a function of the module is wrapped."""
        return bool(self._patches)

    def install_or_reenable(self, hooks: tuple[Hook, ...], handler: TelemetryHandler) -> None:
        """Wrap every function that is compatible with its hook.

        A wrapper that is still installed is only enabled again.
        """
        self._handler_ref.handler = handler
        self._patches = [patch for patch in self._patches if patch.is_installed()]
        installed = {(patch.owner, patch.name) for patch in self._patches}
        for hook in hooks:
            owner: type | None = getattr(self.module, hook.class_name, None)
            if owner is None or (owner, hook.method_name) not in installed:
                self._wrap_hooked_method(owner, hook)

    def _wrap_hooked_method(self, owner: type | None, hook: Hook) -> None:
        original = owner.__dict__.get(hook.method_name) if owner is not None else None
        if owner is None or not is_compatible(original, hook):
            if not hook.is_optional:
                module_name = getattr(self.module, "__name__", "")
                self._warn_missing_function_once(
                    ".".join((*module_name.split(), hook.class_name, hook.method_name))
                )
            return
        # Two names of one function share one wrapper, so that `help` still shows them as aliases.
        existing = (
            patch.wrapper
            for patch in self._patches
            if patch.owner is owner and patch.original is original
        )
        # Only through its class does a wrapt wrapper know whose method it is.
        wrapper = next(existing, None) or make_wrapper(
            hook, original.__get__(None, owner), self._handler_ref
        )
        self._patches.append(
            FunctionPatch(owner, hook.method_name, original, wrapper, self._handler_ref)
        )
        setattr(owner, hook.method_name, wrapper)

    def _warn_missing_function_once(self, location: str) -> None:
        if location not in self._warned_locations:
            self._warned_locations.add(location)
            warn_unsupported_sdk_release(location)

    def remove_or_disable(self) -> None:
        """Restore every function whose outermost wrapper is ours.

        The other wrappers only call the original from now on.
        """
        for patch in self._patches:
            patch.remove_or_disable()
        self._patches = [patch for patch in self._patches if patch.is_installed()]
