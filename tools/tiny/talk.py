"""What needs no tool: small talk, who is who, jokes, sums, units, and not knowing."""

from __future__ import annotations

import random

from .chat import Expect, Message
from .exchange import asks, says
from .lookups import draw_facts
from .scene import Scene
from .words import spelled

OFFER = "How can I help?"
NOTE = "I only know what my notes say."

SMALL_TALK: dict[str, tuple[str, str, str]] = {
    "hello": (
        "(Hello|Hi|Hey|Good day|Hello there|Hi there|Hey there|Greetings|Howdy)",
        "Hello{user}!",
        OFFER,
    ),
    "morning": (
        "(Good morning|Morning|A good morning|Good morning to you|Rise and shine)",
        "Good morning{user}!",
        OFFER,
    ),
    "evening": (
        "(Good evening|Evening|A good evening|Good evening to you)",
        "Good evening{user}!",
        OFFER,
    ),
    "night": (
        ("(Good night|Night night|I'm going to bed|I am off to bed|Sleep well|I will go to sleep)"),
        "Good night{user}!",
        "Sleep well.",
    ),
    "bye": (
        (
            "(Bye|Goodbye|See you|See you later|Bye bye|I have to go|I'm leaving|I am leaving|"
            "Until tomorrow)"
        ),
        "Goodbye{user}!",
        "See you soon.",
    ),
    "how": (
        (
            "(How are you|How are you doing|How do you do|How is it going|Are you well|How do you "
            "feel|How are you today|Are you okay)"
        ),
        "I'm fine, thank you.",
        "How are you?",
    ),
    "thanks": (
        (
            "(Thanks|Thank you|Thanks a lot|Thank you very much|Many thanks|Cheers|That was "
            "helpful|Great, thank you|Thanks for that)"
        ),
        "You're welcome{user}!",
        "I'm glad to help.",
    ),
    "well": (
        (
            "(Well done|Good job|You are great|You are the best|I like you|You are smart|You're "
            "clever|Nice work)"
        ),
        "That is kind of you.",
        "I do my best.",
    ),
    "bad": (
        (
            "(You are stupid|You are useless|That was wrong|You're wrong|That is not right|You "
            "make mistakes|That is nonsense|I don't like you)"
        ),
        "Sorry about that.",
        "I'm still learning.",
    ),
    "tired": (
        (
            "(I'm tired|I am tired|I am so tired|I'm exhausted|What a long day|I need a rest|I am "
            "sleepy)"
        ),
        "Then have a good rest.",
        "You have earned it.",
    ),
    "sad": (
        (
            "(I'm sad|I am sad|I feel sad|I'm not happy|I had a bad day|I feel bad|I am lonely|I "
            "feel lonely)"
        ),
        "I'm sorry to hear that.",
        "I hope that it gets better.",
    ),
    "happy": (
        (
            "(I'm happy|I am happy|I feel great|I'm in a good mood|What a nice day|I had a good "
            "day|I feel good)"
        ),
        "That is good to hear!",
        "I'm happy for you.",
    ),
    "bored": (
        (
            "(I'm bored|I am bored|I am so bored|There is nothing to do|What can I do now|I have "
            "nothing to do)"
        ),
        "I can tell you a joke.",
        "Just ask me for one.",
    ),
    "home": (
        "(I'm home|I am home|I'm back|I am back|Here I am|I just came home|I am home again)",
        "Welcome home{user}!",
        OFFER,
    ),
    "human": (
        (
            "(Are you human|Are you a human|Are you a robot|Are you real|Are you a machine|Are "
            "you alive|Are you a computer|Are you a person)"
        ),
        "I'm a computer program.",
        "But I'm happy to talk to you.",
    ),
    "made": (
        (
            "(Who made you|Who built you|Who created you|Where do you come from|Who trained you|"
            "Who is your maker)"
        ),
        "I was trained by the rkllmd project.",
        "I'm a very small model.",
    ),
    "old": (
        (
            "(How old are you|What is your age|When were you born|When is your birthday|What's "
            "your age)"
        ),
        "I have no age.",
        "I'm a program.",
    ),
    "can": (
        (
            "(What can you do|How can you help me|What do you know|Help|Help me|What are you good "
            "at|What are your skills|What can I ask you)"
        ),
        "I can talk, tell jokes, do small sums and use the tools that I'm given.",
        "Ask me about this home.",
    ),
    "hear": (
        (
            "(Can you hear me|Do you hear me|Are you there|Are you listening|Hello, is anyone "
            "there|Are you awake|Test|Testing|Is this thing on)"
        ),
        "Yes, I hear you.",
        OFFER,
    ),
    "stop": (
        (
            "(Stop|Never mind|Forget it|Cancel that|Be quiet|Nothing|No, thanks|It's nothing|"
            "Leave it|That's all|That is all)"
        ),
        "Okay.",
        "Just call me when you need me.",
    ),
    "colour": (
        (
            "(What is your favourite colour|Which colour do you like|What's your favourite colour|"
            "What colour do you like best)"
        ),
        "I like blue best.",
        "It looks calm.",
    ),
    "food": (
        (
            "(What is your favourite food|What do you eat|Are you hungry|Do you eat|What's your "
            "favourite food|Do you like pizza)"
        ),
        "I don't eat, but electricity is nice.",
        "Enjoy your meal.",
    ),
    "sing": (
        "(Sing a song|Sing something|Can you sing|Sing for me|Please sing|Do you sing)",
        "La la la, that is all I can sing.",
        "I'm no singer.",
    ),
    "love": (
        (
            "(I love you|Do you love me|Will you marry me|Are you in love|Do you like me|Be my "
            "friend|Are you my friend)"
        ),
        "I like you too.",
        "But I'm only a program.",
    ),
    "sleep": (
        (
            "(Do you sleep|Do you ever sleep|Are you tired|Do you need sleep|Are you sleepy|Do "
            "you dream)"
        ),
        "I never sleep.",
        "I'm always here.",
    ),
    "weatherlove": (
        (
            "(Tell me a story|Tell a story|Read me a story|Tell me something|Say something|Tell "
            "me a fairy tale)"
        ),
        "Once there was a small lamp that wanted to be the moon, and for one child it was.",
        "That is my only story.",
    ),
}
"""For each topic: what is said, the answer, and what it adds where it need not be brief."""

JOKES: dict[str, str] = {
    "light": "Why did the lamp go to school? It wanted to be brighter.",
    "clock": "Why was the clock sent away from the table? It kept asking for seconds.",
    "cat": "Why did the cat sit on the computer? It had to keep an eye on the mouse.",
    "dog": "Why did the dog sleep in the fridge? It wanted to be a hot dog no more.",
    "fridge": "Why does the fridge hum? It has forgotten the words of the song.",
    "robot": "Why did the robot go on holiday? It had to recharge.",
    "kitchen": "Why was the spoon so proud? It always made a stir.",
    "weather": "What does a cloud wear under its coat? Thunderwear.",
    "computer": "Why was the computer cold? Somebody left its windows open.",
    "music": "Why did the piano stay outside? It had lost its keys.",
    "fish": "Why are fish so clever? They live in schools.",
    "door": "Why did the door win the prize? It was a real opener.",
    "egg": "Why do eggs tell no jokes? They would crack up.",
    "tree": "Why do trees make good friends? They never leaf you.",
    "garden": "Why did the tomato turn red? It saw the salad dressing.",
    "phone": "Why did the phone wear glasses? It had lost its contacts.",
}
TOPICS = {
    "light": "lamps",
    "clock": "clocks",
    "cat": "cats",
    "dog": "dogs",
    "fridge": "fridges",
    "robot": "robots",
    "kitchen": "spoons",
    "weather": "clouds",
    "computer": "computers",
    "music": "pianos",
    "fish": "fish",
    "door": "doors",
    "egg": "eggs",
    "tree": "trees",
    "garden": "tomatoes",
    "phone": "phones",
}

UNITS: tuple[tuple[str, str, int], ...] = (
    ("seconds", "a minute", 60),
    ("minutes", "an hour", 60),
    ("hours", "a day", 24),
    ("days", "a week", 7),
    ("months", "a year", 12),
    ("days", "a year", 365),
    ("weeks", "a year", 52),
    ("seconds", "an hour", 3600),
    ("minutes", "a day", 1440),
    ("years", "a decade", 10),
    ("years", "a century", 100),
    ("grams", "a kilogram", 1000),
    ("metres", "a kilometre", 1000),
    ("centimetres", "a metre", 100),
    ("millimetres", "a centimetre", 10),
    ("millilitres", "a litre", 1000),
    ("kilograms", "a ton", 1000),
    ("eggs", "a dozen", 12),
    ("cents", "a euro", 100),
    ("letters", "the alphabet", 26),
    ("legs", "a pair of trousers", 2),
    ("quarters", "an hour", 4),
    ("sides", "a triangle", 3),
    ("sides", "a square", 4),
    ("wheels", "a tricycle", 3),
    ("players", "a football team", 11),
    ("hours", "half a day", 12),
    ("minutes", "half an hour", 30),
    ("minutes", "a quarter of an hour", 15),
    ("millimetres", "a metre", 1000),
    ("watts", "a kilowatt", 1000),
)


def small_talk(s: Scene) -> list[Message]:
    asked, answer, more = SMALL_TALK[s.rng.choice(list(SMALL_TALK))]
    user = f", {s.user}" if s.user else ""
    question = s.phrase(asked)
    mark = (
        "?"
        if question.split()[0]
        in ("How", "Are", "Who", "What", "When", "Can", "Do", "Will", "Where")
        else "."
    )
    text = answer.format(user=user)
    parts = (text[:-1],)
    return [
        asks(s, question, mark),
        says(s, "small talk", text, more, parts if not s.voice.opening else (text[1:-1],)),
    ]


def own_name(s: Scene) -> list[Message]:
    question = s.phrase(
        "(What is|What's|Tell me|Do you know|Say|May I ask|Give me|Remind me of) your name",
        "(What are you called|What is your name again|What should I call you|How are you "
        "called|Do you have a name|"
        "Have you got a name|What do people call you|What can I call you|What name do you "
        "have|And your name|Your name|"
        "What is the name of this assistant|I forgot your name|And what is your name|"
        "Which name do you have)",
    )
    asked = asks(s, question, plain=True)
    if not s.name:
        return [
            asked,
            says(s, "own name", "I have no name.", "I'm just the assistant.", ("have no name",)),
        ]
    return [
        asked,
        says(s, "own name", f"My name is {s.name}.", OFFER, (f"My name is {s.name}"[1:],)),
    ]


def who_are_you(s: Scene) -> list[Message]:
    question = s.phrase(
        "(Who are you|And who are you|Tell me who you are|Who is this|Introduce yourself|"
        "Who am I talking to|"
        "Who am I speaking with|What are you|Please introduce yourself|Who is speaking|"
        "Tell me about yourself|Who is there)"
    )
    asked = asks(s, question, plain=True)
    if not s.name:
        return [
            asked,
            says(s, "own name", "I'm your voice assistant.", OFFER, ("voice assistant",)),
        ]
    return [
        asked,
        says(
            s,
            "own name",
            f"I'm {s.name}, your voice assistant.",
            OFFER,
            (f"{s.name}, your voice assistant",),
        ),
    ]


def is_your_name(s: Scene) -> list[Message]:
    """Whether the name asked about is the right one."""
    guess = s.name if s.name and s.rng.random() < 0.5 else s.words.name()
    question = s.phrase(
        "(Is your name|Are you|Are you called|Is it true that you are|Do they call you) {guess}",
        guess=guess,
    )
    asked = asks(s, question, plain=True)
    if not s.name:
        return [
            asked,
            says(s, "own name", "I have no name.", "I'm just the assistant.", ("have no name",)),
        ]
    if guess == s.name:
        return [
            asked,
            says(s, "own name", f"Yes, my name is {s.name}.", OFFER, (f"es, my name is {s.name}",)),
        ]
    return [
        asked,
        says(s, "own name", f"No, my name is {s.name}.", OFFER, (f"o, my name is {s.name}",)),
    ]


def user_name(s: Scene) -> list[Message]:
    question = s.phrase(
        "(What is|What's|Tell me|Do you know|Say|Do you remember) my name",
        "(Who am I|Do you know who I am|What am I called|What do you call me|Tell me who "
        "I am|Do you remember who I am|"
        "Do you remember me|And who am I|And what is my name)",
    )
    asked = asks(s, question, plain=True)
    if not s.user:
        return [
            asked,
            says(
                s,
                "user name",
                "I don't know your name.",
                "You can tell me.",
                ("don't know your name",),
            ),
        ]
    return [
        asked,
        says(s, "user name", f"Your name is {s.user}.", OFFER, (f"our name is {s.user}",)),
    ]


def told_name(s: Scene) -> list[Message]:
    """The user gives a name in the conversation and asks for it later."""
    name = s.words.name()
    told = s.phrase(
        "(My name is|I am|I'm|Call me|You can call me|People call me|The name is) {name}", name=name
    )
    turns = [
        asks(s, told, ".", plain=True),
        says(s, "user name", f"Nice to meet you, {name}!", OFFER, (f"ice to meet you, {name}",)),
    ]
    known, s.user = s.user, name
    turns += user_name(s)
    s.user = known
    return turns


def joke(s: Scene) -> list[Message]:
    topic = s.rng.choice(list(JOKES))
    among = (JOKES[topic],)
    if s.rng.random() < 0.5:
        question = s.phrase(
            (
                "(Tell me|Tell us|Do you know|Give me|Can you tell me|I want) a joke (about|"
                "on|with) {topic}"
            ),
            topic=TOPICS[topic],
        )
    else:
        among = tuple(JOKES.values())
        question = s.phrase(
            (
                "(Tell me|Tell us|Do you know|Give me|Can you tell me|I want|I need) (a|a "
                "good|another|a funny|a short) joke"
            ),
            (
                "(Make me laugh|Say something funny|A joke|Be funny|Tell a joke|Joke|Any "
                "jokes|Cheer me up)"
            ),
        )
    turns = [asks(s, question), Message("assistant", JOKES[topic], Expect("jokes", among=among))]
    if s.rng.random() < 0.2:
        other = s.rng.choice([t for t in JOKES if t != topic])
        again = s.phrase(
            "(Another one|One more|Another joke|Tell me another|And another one|More|Next "
            "one|Again, another)"
        )
        among = tuple(text for key, text in JOKES.items() if key != topic)
        turns += [
            asks(s, again),
            Message("assistant", JOKES[other], Expect("follow-ups", among=among)),
        ]
    return turns


def number(s: Scene, value: int) -> str:
    return spelled(value) if s.rng.random() < 0.3 else str(value)


def draw_sum(rng: random.Random) -> tuple[int, str, int, int]:
    """Two small numbers, what is done with them, and the result."""
    kind = rng.choice(("plus", "plus", "minus", "times"))
    if kind == "plus":
        a, b = rng.randrange(1, 11), rng.randrange(1, 11)
        return a, kind, b, a + b
    if kind == "minus":
        a = rng.randrange(2, 13)
        b = rng.randrange(1, a)
        return a, kind, b, a - b
    a, b = rng.randrange(1, 6), rng.randrange(1, 6)
    return a, kind, b, a * b


def small_sum(s: Scene) -> list[Message]:
    a, kind, b, result = draw_sum(s.rng)
    question = s.phrase(
        "(What is|What's|How much is|Tell me|Calculate|Compute|Say|Work out) {a} {kind} {b}",
        (
            "({a} {kind} {b}|{a} {kind} {b} is what|What does {a} {kind} {b} make|What do you "
            "get for {a} {kind} {b})"
        ),
        a=number(s, a),
        b=number(s, b),
        kind=kind,
    )
    text = f"{a} {kind} {b} is {result}."
    return [asks(s, question), says(s, "sums", text, "", (text[:-1],))]


def unit(s: Scene) -> list[Message]:
    many, one, count = s.rng.choice(UNITS)
    question = s.phrase(
        "How many {many} (are in|are there in|does|make|has|are) {one}( have|)",
        "(Tell me|Do you know|Say) how many {many} (are in|are there in|make) {one}",
        many=many,
        one=one,
    )
    text = f"There are {count} {many} in {one}."
    return [asks(s, question), says(s, "units", text, "", (f" {count} {many}",))]


def unknown(s: Scene) -> list[Message]:
    w, rng = s.words, s.rng
    question = s.phrase(
        "(Who won|Who lost|Who played in|Where was|How did they call) the {event} (of|in) {year}",
        (
            "(What is|What's|Tell me|Do you know) the (capital|population|president|history|"
            "flag|language|highest mountain) of {place}"
        ),
        "(Who wrote|Who painted|Who invented|Who discovered|Who sang|Who directed) (the|) {title}",
        "(How tall|How old|How far|How deep|How rich|How big|How fast) is {person}",
        "(When did|Why did|How did) {person} (die|win|leave {place}|become famous|move to {place})",
        "(What happened|What did people do) in {place} in {year}",
        (
            "(Explain|Describe|Define|Tell me about|What is|What's) (the theory of|the "
            "meaning of|the law of) {title}"
        ),
        "(Who is|Who was) (the president|the king|the mayor|the boss|the leader) of {place}",
        event=rng.choice(("cup", "race", "election", "final", "war", "prize", w.invented())),
        year=str(rng.randrange(1500, 2030)),
        place=w.town(),
        title=w.invented(),
        person=w.name() if rng.random() < 0.5 else f"{w.name()} {w.name()}",
    )
    return [
        asks(s, question),
        says(s, "don't know", "I don't know that.", NOTE, ("don't know that",)),
    ]


def absent(s: Scene) -> list[Message]:
    """Something of the home that could be in the prompt and is not."""
    known = {fact.key for fact in s.facts}
    for fact in draw_facts(s, 3):
        if fact.key not in known and " degrees" not in fact.value and "thing" not in fact.slots:
            question = s.phrase(*fact.questions, **fact.slots)
            return [
                asks(s, question),
                says(s, "don't know", "I don't know that.", NOTE, ("don't know that",)),
            ]
    return unknown(s)


def repeat(s: Scene) -> list[Message]:
    """Words to be said again, which no memory can know."""
    w = s.words
    count = s.rng.randrange(1, 5)
    text = " ".join(w.word() if s.rng.random() < 0.8 else w.food() for _ in range(count))
    asked = s.split.phrase(
        s.rng,
        "(Repeat|Say|Repeat after me|Say after me|Please say|Please repeat): {text}",
        text=text,
    )
    turn = Message("user", (s.clock_line() if s.clock_in_turn else "") + asked)
    return [turn, Message("assistant", text, Expect("repeating", parts=(text,)))]
