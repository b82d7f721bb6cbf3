"""session list, show and reset."""

from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.replies import say
from rkllmd.cli.ctl.screen import duration


def show_all(context: Context) -> None:
    """The sessions."""
    reply = context.client.call("session.list")
    if context.screen.as_json:
        context.screen.json(reply)
        return
    context.screen.table(
        ("session", "turns", "unused for"),
        [(one["session"], one["turns"], duration(one["idle_s"])) for one in reply["sessions"]],
    )


def show(context: Context) -> None:
    """One session, as it went."""
    reply = context.client.call("session.show", session=context.options.session)
    lines = (f"{one['role']}: {one['content'] or ''}" for one in reply["messages"])
    say(context, reply, *lines)


def reset(context: Context) -> None:
    """Forget one."""
    reply = context.client.call("session.reset", session=context.options.session)
    say(context, reply, f"forgotten: {context.options.session}")
