"""Tools: which ones a home may offer, and what they and their arguments are called.

A *concept* is what a tool is for; its name, description and arguments are drawn anew for every
scene, so that the model reads them from the list. Besides the known concepts there are invented
ones (`odd`), whose very verbs are made up.
"""

from __future__ import annotations

from .chat import Argument, Tool
from .phrases import choose
from .scene import Scene
from .words import spaced

ROOM = "(room|area|location|place|zone|room_name|where)"

NAMES: dict[str, tuple[str, str]] = {
    "timer": (
        (
            "((set|start|create|make|new|run|add)_(timer|countdown)|(timer|countdown)_(set|"
            "start|create|new)|setTimer|startTimer|"
            "HassStartTimer|kitchen_timer|timer)"
        ),
        (
            "((Set|Start|Create)s a (timer|countdown)( in minutes|).|(Set|Start) a (timer|"
            "countdown)( for some minutes|).|A timer.)"
        ),
    ),
    "timer_stop": (
        (
            "((cancel|stop|end|delete|clear)_(timer|timers|countdown)|timer_(cancel|stop|end|"
            "delete)|cancelTimer|HassCancelTimer)"
        ),
        "((Cancel|Stop|Delete)s the (timer|countdown).|(Cancel|Stop) a timer.)",
    ),
    "timer_left": (
        (
            "((get|check|read|query)_timer|timer_(left|status|remaining|state)|time_left|"
            "HassTimerStatus)"
        ),
        (
            "((Tell|Say)s how much time is left.|(Get|Read)s the time left on the timer.|Time "
            "left on a timer.)"
        ),
    ),
    "alarm": (
        (
            "((set|create|add|start)_alarm|alarm_(set|create|add)|wake_up|setAlarm|wake_me|"
            "alarm_clock|new_alarm)"
        ),
        (
            "((Set|Create)s an alarm.|(Set|Create) an alarm for a time.|Wakes (somebody|the "
            "user|people).)"
        ),
    ),
    "light": (
        (
            "((set|switch|control|change|turn)_(light|lights|lamp)|(light|lights|lamp)_(set|"
            "switch|control|state)|setLight|HassLightSet|"
            "light|room_light|lighting)"
        ),
        (
            "((Switch|Turn)es (a|the) light on or off.|(Switch|Turn) a light on or off.|"
            "Controls the (lights|lamps)( of a room|).)"
        ),
    ),
    "light_on": (
        (
            "((turn|switch)_on(_light|_lights|_lamp|)|(light|lights|lamp)_on|HassTurnOn|"
            "lightOn|enable_light)"
        ),
        "((Turn|Switch) on (a|the) light( of a room|).|(Turn|Switche)s a light on.|Light on.)",
    ),
    "light_off": (
        (
            "((turn|switch)_off(_light|_lights|_lamp|)|(light|lights|lamp)_off|HassTurnOff|"
            "lightOff|disable_light)"
        ),
        "((Turn|Switch) off (a|the) light( of a room|).|(Turn|Switche)s a light off.|Light off.)",
    ),
    "dim": (
        (
            "((set|change)_brightness|(dim|dim_light|dim_lights|brightness|light_level|"
            "set_light_level|dimmer|lamp_brightness))"
        ),
        (
            "((Set|Change)s (the|a light's) brightness.|(Set|Change) the brightness of (a|"
            "the) light.|Dims a light.)"
        ),
    ),
    "heat": (
        (
            "((set|change|adjust)_(temperature|heating|thermostat|heat)|(heating|thermostat|"
            "climate|heat)_(set|control|change)|"
            "HassClimateSetTemperature|setTemperature|heating|climate)"
        ),
        (
            "((Set|Change)s the (heating|temperature)( of a room|).|(Set|Change) the (heating|"
            "temperature|thermostat).)"
        ),
    ),
    "warmth": (
        (
            "((get|read|check|query)_temperature|(temperature|thermometer|climate)_(get|read|"
            "state)|HassClimateGetTemperature|room_temperature|"
            "getTemperature|thermometer)"
        ),
        (
            "((Read|Get|Tell)s the temperature of a room.|(Read|Get) the (room|present) "
            "temperature.|How warm a room is.)"
        ),
    ),
    "play": (
        (
            "(play(_music|_media|_song|_radio|_audio|)|media_play|music_(play|start)|"
            "start_music|HassMediaPlay|playMusic|music)"
        ),
        "((Play|Start)s (music|a song|media).|(Play|Start) (music|songs|some music|audio).)",
    ),
    "pause": (
        (
            "((pause|stop)(_music|_media|_audio|_playback)|media_(pause|stop)|music_(pause|"
            "stop)|HassMediaPause|pauseMusic)"
        ),
        "((Pause|Stop)s the music.|(Pause|Stop) (music|the music|playback).)",
    ),
    "volume": (
        (
            "((set|change)_volume|(volume|volume_set|media_volume|loudness|set_loudness|"
            "HassSetVolume|setVolume|audio_volume))"
        ),
        (
            "((Set|Change)s the volume.|(Set|Change) the (volume|loudness).|How loud it is, "
            "from 0 to 100.)"
        ),
    ),
    "weather": (
        (
            "((get|read|check|query|ask)_(weather|forecast)|(weather|forecast)(_get|_now|"
            "_report|_today|)|HassGetWeather|getWeather)"
        ),
        (
            "((Get|Tell|Read)s the weather( forecast|).|(Get|Read) the (weather|forecast).|"
            "The weather report.)"
        ),
    ),
    "shop": (
        (
            "(add_(item|to_list|shopping|to_shopping_list|shopping_item)|(shopping|list|"
            "shopping_list)_add(_item|)|HassListAddItem|"
            "addItem|put_on_list|buy|add_to_cart)"
        ),
        (
            "((Add|Put)s (an item|something) (to|on) the shopping list.|(Add|Put) an item (to|"
            "on) the shopping list.)"
        ),
    ),
    "shopping": (
        (
            "((get|read|show|check)_(list|shopping_list|shopping)|(shopping|list|"
            "shopping_list)_(get|read|show|items)|HassGetList|"
            "getList|shopping_list)"
        ),
        "((Read|Get|Show)s the shopping list.|(Read|Get|Show) (the|what is on the) shopping list.)",
    ),
    "clock": (
        (
            "((get|read|check|tell)_(time|clock)|(clock|time|current_time|time_now|clock_get|"
            "now)|HassGetCurrentTime|getTime)"
        ),
        (
            "((Get|Tell|Read)s the (time|clock).|(Get|Tell) the (current|present) time.|What "
            "time it is.)"
        ),
    ),
}
"""For each concept: grammars of tool names and of descriptions."""

ARGUMENTS: dict[str, tuple[tuple[str, str, str, bool], ...]] = {
    "timer": (
        (
            "minutes",
            "(minutes|duration|duration_minutes|mins|time_minutes|length|time|for_minutes)",
            "integer",
            True,
        ),
        ("label", "(label|name|title|timer_name|what_for)", "string", False),
    ),
    "alarm": (("time", "(time|at|clock|when|hour|wake_time)", "string", True),),
    "light": (
        ("room", ROOM, "string", True),
        ("state", "(state|action|mode|power|to)", "on|off", True),
    ),
    "light_on": (("room", ROOM, "string", True),),
    "light_off": (("room", ROOM, "string", True),),
    "dim": (
        ("room", ROOM, "string", True),
        ("level", "(level|brightness|percent|value|brightness_pct)", "integer", True),
    ),
    "heat": (
        ("room", ROOM, "string", True),
        ("degrees", "(temperature|degrees|target|value|celsius|to)", "integer", True),
    ),
    "warmth": (("room", ROOM, "string", True),),
    "play": (
        ("title", "(query|title|song|music|what|media|name|search)", "string", True),
        ("room", ROOM, "string", False),
    ),
    "volume": (("level", "(level|volume|percent|value|loudness|volume_level)", "integer", True),),
    "weather": (
        ("day", "(day|date|when|for_day)", "string", False),
        ("town", "(location|city|place|town|where)", "string", False),
    ),
    "shop": (("item", "(item|product|name|what|thing|text)", "string", True),),
}
"""For each concept: its arguments as (role, grammar of names, type or choices, required)."""


def draw_tool(s: Scene, concept: str) -> tuple[Tool, dict[str, str]]:
    """A tool for a concept, and the name of each of its arguments by role."""
    name, description = NAMES[concept]
    roles: dict[str, str] = {}
    arguments: list[Argument] = []
    wanted = ARGUMENTS.get(concept, ())
    only_text = sum(kind == "string" for _, _, kind, _ in wanted) == 1
    for role, names, kind, required in wanted:
        if not required and s.rng.random() < 0.4:
            continue
        called = choose(s.rng, names)
        if only_text and s.rng.random() < 0.15:
            called = s.words.word()
        if called in roles.values():
            continue
        roles[role] = called
        arguments.append(draw_argument(s, called, kind, required=required))
    if s.rng.random() < 0.08:
        arguments += unused_arguments(s, list(roles.values()))
    order = s.rng.random()
    if order < 0.4:
        arguments.sort(key=lambda argument: argument.name)
    elif order < 0.5:
        s.rng.shuffle(arguments)
    about = choose(s.rng, description) if s.rng.random() < 0.95 else ""
    return Tool(draw_name(s, name, described=bool(about)), about, tuple(arguments)), roles


def draw_name(s: Scene, grammar: str, *, described: bool) -> str:
    """A tool's name: often with invented words, so that it has to be read from the list.

    Where there is a description, the name may even be of nothing else."""
    name = s.split.phrase(s.rng, grammar)
    dice = s.rng.random()
    if dice < 0.2:
        name = f"{s.words.word()}_{name}"
    elif dice < 0.35:
        name = f"{name}_{s.words.word()}"
    elif dice < 0.5 and described:
        name = f"{s.words.word()}_{s.words.word()}"
    if s.rng.random() < 0.15:
        first, *others = name.split("_")
        name = first + "".join(part[:1].upper() + part[1:] for part in others)
    return name


def draw_argument(s: Scene, name: str, kind: str, *, required: bool) -> Argument:
    """An argument of a kind, or of one that does as well."""
    if kind == "integer" and s.rng.random() < 0.25:
        return Argument(name, "number", required)
    if "|" not in kind:
        return Argument(name, kind, required)
    if s.rng.random() < 0.25:
        return Argument(name, "boolean", required)
    return Argument(name, "string", required, tuple(kind.split("|")))


def unused_arguments(s: Scene, taken: list[str]) -> list[Argument]:
    """Arguments that may be left out, and are."""
    names = [
        "floor",
        "domain",
        "unit",
        "device_class",
        "speed",
        "mood",
        "source",
        "note",
        s.words.invented(),
    ]
    chosen = s.rng.sample(names, s.rng.randint(1, 3))
    return [
        Argument(name, s.rng.choice(("string", "string", "array")), required=False)
        for name in chosen
        if name not in taken
    ]


def draw_tools(s: Scene, most: int) -> None:
    """Offer some tools in this scene."""
    concepts = s.rng.sample(list(NAMES), s.rng.randint(1, most))
    if s.time or s.date:
        concepts = [c for c in concepts if c != "clock"]
    if s.weather:
        concepts = [c for c in concepts if c != "weather"]
    if "light" in concepts:
        concepts = [c for c in concepts if c not in ("light_on", "light_off")]
    elif "light_on" in concepts or "light_off" in concepts:
        concepts = list(dict.fromkeys([*concepts, "light_on", "light_off"]))
    for concept in concepts:
        tool, roles = draw_tool(s, concept)
        if all(tool.name != other.name for other in s.tools) and missing(concept, roles) is None:
            s.tools.append(tool)
            s.concepts[concept] = tool
            s.roles[concept] = roles
    for _ in range(s.rng.choice((0, 0, 0, 1))):
        add_odd_tool(s)
    s.rng.shuffle(s.tools)


def missing(concept: str, roles: dict[str, str]) -> str | None:
    """The first required role that a drawn tool lacks because two arguments had the same name."""
    for role, _, _, required in ARGUMENTS.get(concept, ()):
        if required and role not in roles:
            return role
    return None


VERBS = spaced(
    "open close lock unlock start stop feed water clean check empty fill lift lower call "
    "charge move test polish fold"
)
OBJECTS = spaced(
    "door window gate vacuum fountain cat fish plants pump blinds curtain awning oven "
    "mower bath robot printer pool shutter"
)


def add_odd_tool(s: Scene) -> None:
    """A tool for something unusual: often its verb or its object is a made-up word."""
    verb = s.rng.choice(VERBS) if s.rng.random() < 0.6 else s.words.invented()
    thing = s.rng.choice(OBJECTS) if s.rng.random() < 0.5 else s.words.word()
    name = s.rng.choice(
        (f"{verb}_{thing}", f"{thing}_{verb}", f"{verb}_{thing}", f"{verb}{thing.capitalize()}")
    )
    arguments: tuple[Argument, ...] = ()
    roles: dict[str, str] = {}
    if s.rng.random() < 0.5:
        roles["room"] = choose(s.rng, ROOM)
        arguments = (Argument(roles["room"]),)
    if any(tool.name == name for tool in s.tools):
        return
    tool = Tool(
        name, f"{verb.capitalize()} the {thing}." if s.rng.random() < 0.8 else "", arguments
    )
    key = f"odd {verb} {thing}"
    s.tools.append(tool)
    s.concepts[key] = tool
    s.roles[key] = roles
