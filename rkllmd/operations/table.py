"""Which function serves which request: all of the protocol's operations."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rkllmd.errors import Code, StateError
from rkllmd.operations import about, caches, conversation, models, sessions, watching
from rkllmd.operations.call import Call, Handler, Reply
from rkllmd.operations.record import recorded
from rkllmd.operations.services import DaemonState, Services
from rkllmd.protocol import messages
from rkllmd.protocol.messages import Done, Request, Timing, Usage
from rkllmd.scheduling.stop import Stopped

Operation = Callable[[Services, Any, Call], Awaitable[Reply]]

TABLE: Mapping[type[Request], Operation] = {
    messages.Hello: about.hello,
    messages.Help: about.show_help,
    messages.Ping: about.ping,
    messages.Status: about.status,
    messages.Reload: about.reload,
    messages.LogLevel: about.log_level,
    messages.Watch: watching.watch,
    messages.Cancel: about.cancel,
    messages.Chat: conversation.chat,
    messages.Complete: conversation.complete,
    messages.Prefill: conversation.prefill,
    messages.Embed: models.embed,
    messages.Tokenize: models.tokenize,
    messages.Logits: models.logits,
    messages.ModelList: models.model_list,
    messages.ModelShow: models.model_show,
    messages.ModelLoad: models.model_load,
    messages.ModelUnload: models.model_unload,
    messages.SessionList: sessions.session_list,
    messages.SessionShow: sessions.session_show,
    messages.SessionReset: sessions.session_reset,
    messages.SessionTruncate: sessions.session_truncate,
    messages.CacheList: caches.cache_list,
    messages.CacheShow: caches.cache_show,
    messages.CacheCreate: caches.cache_create,
    messages.CacheBuild: caches.cache_build,
    messages.CacheDelete: caches.cache_delete,
    messages.CacheVerify: caches.cache_verify,
}

AT_ONCE = frozenset(
    {messages.Hello, messages.Help, messages.Ping, messages.Status, messages.Watch, messages.Cancel}
)
"""Answered before the models and prompts were looked at; everything else waits for that."""


def handler(services: Services) -> Handler:
    """What transports call with every request."""

    async def handle(request: Request, call: Call) -> Reply:
        if services.state is DaemonState.STOPPING:
            raise StateError(Code.SHUTTING_DOWN, "the service is stopping")
        with services.serving(request, call), recorded(services, request, call) as record:
            try:
                if type(request) not in AT_ONCE:
                    await services.wait_for_models(call.stop)
                record.reply = await TABLE[type(request)](services, request, call)
            except Stopped:
                record.reply = _cancelled(request, call, services.now())
            return record.reply

    return handle


def _cancelled(request: Request, call: Call, now: float) -> Done:
    """The end of a request that has no answer to show and was cancelled."""
    total_ms = round((now - call.arrived) * 1000, 3)
    return Done(
        text="",
        reason="cancelled",
        model=getattr(request, "model", None) or "",
        session=getattr(request, "session", None),
        usage=Usage(0, 0, 0, cache_hit=False),
        timing=Timing(0.0, 0.0, 0.0, None, total_ms, None),
    )
