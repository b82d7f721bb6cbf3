"""Open sets of words: names, rooms, things and values, so that nothing can be answered from memory.

About half of all names are invented from syllables. Known words have a training list and a held-out
list; invented words are divided by checksum (`Split.owns`)."""

from __future__ import annotations

import random
from functools import cache

from .phrases import Split


def spaced(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


def commas(text: str) -> list[str]:
    """The parts of a text between commas."""
    return text.split(",")


NAMES = spaced(
    "Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Kim Laura Max Nina Oscar Paula "
    "Quinn Rosa Sam Tina "
    "Uma Victor Wendy Yara Zoe Alice Bob Carol Dan Eve Frank Grace Henry Iris Jack Kate "
    "Leo Mia Noah Olivia "
    "Peter Ruth Steve Tom Ursula Vera Will Sofia Lucas Marta Igor Elena Pavel Chen Mei "
    "Ravi Priya Omar Leila "
    "Aisha Kofi Amara Diego Carmen Luis Bjorn Astrid Lars Freya Sven Marie Pierre Luc "
    "Chloe Giulia Marco Rita "
    "Nova Aria Echo Luna Atlas Orion Jarvis Alfred Friday Computer Robin Max Hal Ada "
    "Pixel Juno Sparky Butler "
    "Jasper Nestor Vesta Oracle Buddy Harald Marvin Cleo Ziggy Otto Milo Ruby Pearl "
    "Willow Hazel Basil Sage"
)
NAMES_HELD = spaced(
    "Fiona George Hannah Ivan Julia Karl Lena Martin Nora Oliver Petra Rolf Sara Theo "
    "Vincent Walter Xenia "
    "Yusuf Zora Athena Merlin Samson Daisy Rocky Apollo Minerva Felicity Gordon Tessa Wilbur"
)
ROOMS = commas(
    "kitchen,living room,bedroom,bathroom,hall,hallway,office,study,dining "
    "room,garage,cellar,attic,nursery,"
    "guest room,balcony,garden,laundry,porch,library,playroom,corridor,toilet,kids room,lounge"
)
ROOMS_HELD = commas(
    "pantry,loft,workshop,terrace,basement,music room,greenhouse,den,utility room,conservatory"
)
THINGS = commas(
    "spare key,ladder,toolbox,drill,umbrella,passport,first aid kit,torch,sewing "
    "kit,vacuum cleaner,iron,camera,"
    "tent,guitar,bike,suitcase,hammer,cake tin,chess "
    "set,charger,glue,raincoat,telescope,blanket,fuse box,"
    "water valve,tea pot,scarf,notebook,red box"
)
THINGS_HELD = commas(
    "screwdriver,lantern,picnic basket,stapler,kite,wrench,sleeping bag,violin,blue box"
)
PLACES = commas(
    "under the mat,in the drawer,behind the door,on the top shelf,in the cupboard,next to "
    "the fridge,under the stairs,"
    "in the blue bag,on the desk,in the shed,below the sink,behind the sofa,in the "
    "wardrobe,on the windowsill"
)
PLACES_HELD = commas("in the old chest,under the bench,behind the curtain,on the piano,in the tin")
FOODS = commas(
    "milk,eggs,bread,butter,apples,bananas,rice,pasta,cheese,tomatoes,onions,coffee,tea,sugar,flour,salt,honey,"
    "yoghurt,carrots,potatoes,chicken,fish,oranges,soap,batteries,toothpaste,olive "
    "oil,oat milk,paper towels,"
    "dog food,cat litter,chocolate,cereal,jam,lemons,garlic,beans,orange juice,light "
    "bulbs,dish soap"
)
FOODS_HELD = commas(
    "spinach,noodles,pears,cream,mustard,almonds,cucumber,shampoo,raisins,ginger,frozen "
    "peas,matches"
)
COLOURS = commas(
    "red,blue,green,yellow,white,black,brown,grey,purple,orange,pink,silver,golden,turquoise"
)
JOBS = commas(
    "teacher,nurse,baker,painter,doctor,plumber,pilot,gardener,farmer,singer,carpenter,lawyer,cook,tailor"
)
RELATIONS = commas(
    "sister,brother,mother,father,aunt,uncle,neighbour,friend,cousin,daughter,son,boss,grandmother"
)
PETS = commas("cat,dog,parrot,hamster,rabbit,tortoise,goldfish,horse,pony,snake")
EVENTS = commas(
    "dinner,breakfast,lunch,football practice,choir,piano lesson,team call,school,yoga "
    "class,dentist appointment,"
    "swimming lesson,film night,meeting,market,concert,train,bus,book club"
)
SERVICES = commas(
    "doctor,plumber,dentist,school,vet,electrician,pharmacy,landlord,taxi,police station,gardener"
)
SKIES = commas(
    "sunny,cloudy,light rain,heavy rain,snow,fog,clear,windy,partly "
    "cloudy,thunderstorms,drizzle,overcast,showers,hail"
)
NOUNS = spaced(
    "acorn anchor ankle anvil apron arch armchair arrow atlas axe badge bag bakery ball bamboo "
    "banner barn barrel basin basket bath beach beacon beam bear bed beetle bell belt bench "
    "berry bicycle bird biscuit blade block boat bolt bone bonnet book boot bottle bowl box "
    "bracelet branch brass brick bridge broom brush bubble bucket buckle bulb bull bundle bush "
    "button cabin cable cactus cage camel canal candle canoe canvas cap cape card cardigan "
    "carpet carriage castle cave cedar ceiling chain chair chalk chapel chart chimney chisel "
    "church cider cigar circle cliff cloak cloth cloud clover coal coast cobra coconut coffin "
    "coin collar comb comet compass copper coral cork corner cotton couch crab cradle crane "
    "crate crayon crown crystal cube cup curry cushion cycle dagger dairy deck deer desert "
    "diamond dinosaur dish dock doll dolphin donkey dragon dress drum duck dune eagle easel "
    "elbow elephant engine envelope falcon fan farm feather fence ferry fiddle field finger "
    "flag flame flannel flask fleece flute forest fork fort fossil fountain fox frame freezer "
    "frog fruit fudge funnel gallery gate gem ghost giraffe glacier globe glove goat goose gown "
    "grape grass gravel grill guitarist gum gutter hall hamper handle harbour harp hat hawk "
    "heater hedge helmet herb heron hill hinge hoe hook horn hose hotel hut igloo ink island "
    "ivory jacket jar jeep jelly jewel jigsaw jug jungle kayak kennel kettle kiosk kitten knife "
    "knot label lace lagoon lake lamb lane larder laser lawn leaf leather ledge lemonade lens "
    "lettuce lever lid lily lime lion lizard lobby lock locker log loom lorry lunchbox magnet "
    "mailbox mango mantle maple marble mask mast meadow medal melon mill mint mirror mitten "
    "monkey moon moose mop mosaic moss moth motor mountain mud muffin mug museum mushroom "
    "napkin necklace needle nest net nettle nickel nut oak oar oasis ocean olive onyx orchard "
    "organ ostrich otter owl ox paddle padlock palace palm pan panel panther paper parcel park "
    "parsley path peach peacock peanut pebble pedal pen pencil penguin pepper petal pie pigeon "
    "pillow pin pine pipe pistol pitcher plank plate plough plum pocket poem pole pond poppy "
    "port post pot powder pudding pump pumpkin puppet purse puzzle pyramid quarry quilt rack "
    "radar radish raft rail rake ranch raven razor reef ribbon ring river robe rock rocket rod "
    "roof rope rose rudder rug ruler saddle sail salad salmon sand sandal satchel sauce saucer "
    "sausage saw scale scissors scooter screen screw seal seat seed shadow shark shawl sheep "
    "shell shelter shield ship shirt shoe shovel shrimp sickle signal silk sink skate skirt "
    "slate sled slipper smoke snail sock soda soup spade spark sphere spider spire sponge spoon "
    "spring squirrel stable staff stamp star statue stem stone stool stove straw stream string "
    "studio stump summit sun swan sweater swing sword syrup table tablet tank tape tapestry "
    "target tart temple thimble thistle thorn thread throne thumb ticket tiger tile timber "
    "toast tomb tool tower toy track tractor trail tray trench trolley trophy trumpet trunk "
    "tulip tunnel turban turkey turnip turtle twig valley van vase vault veil velvet vest "
    "village vine vinegar wagon waist wallet walnut walrus wand wasp watch waterfall wax weasel "
    "web wheat wheel whisk whistle wick wig window wine wing wire wolf wood wool wreath yacht "
    "yard zebra zipper"
)
"""Words of all kinds, for anything; one in seven is held out."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = spaced(
    "January February March April May June July August September October November December"
)
GENRES = commas(
    "jazz,rock,classical music,the radio,some blues,piano music,the news,techno,folk "
    "songs,reggae,opera"
)

ONSETS = commas(
    "b,bl,br,c,ch,d,dr,f,fl,g,gl,gr,h,j,k,kl,kr,l,m,n,p,pl,pr,qu,r,s,sh,sk,sl,sn,st,t,th,tr,v,w,x,y,z,zw"
)
VOWELS = commas("a,e,i,o,u,a,e,i,o,u,ai,ea,ee,ia,oa,oo,ou")
ENDS = commas(",,,l,n,r,s,t,m,x,k,p,ck,ld,nd,rt,sk,th,zz,v,g,b")


@cache
def owned_nouns(held: bool) -> list[str]:  # noqa: FBT001
    """The nouns of one side, none of which is in a list of its own that is held out."""
    lists = (NAMES_HELD, ROOMS_HELD, THINGS_HELD, PLACES_HELD, FOODS_HELD)
    listed_words = {word for held_list in lists for text in held_list for word in text.split()}
    return [word for word in NOUNS if Split(held).owns(word) and word not in listed_words]


class Words:
    """Draws words of one side of the corpus."""

    def __init__(self, rng: random.Random, split: Split) -> None:
        self.rng = rng
        self.split = split

    def known(self, training: list[str], held: list[str]) -> str:
        return self.rng.choice(held if self.split.held else training)

    def invented(self) -> str:
        """A made-up word of one to three syllables, in lower case."""
        rng = self.rng
        while True:
            parts = [
                rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(ENDS)
                for _ in range(rng.choice((1, 2, 2, 2, 3)))
            ]
            word = "".join(parts)
            if 3 <= len(word) <= 11 and self.split.owns(word):
                return word

    def noun(self) -> str:
        """A real word."""
        return self.rng.choice(owned_nouns(self.split.held))

    def word(self) -> str:
        """A real word or an invented one."""
        return self.noun() if self.rng.random() < 0.4 else self.invented()

    def name(self) -> str:
        if self.rng.random() < 0.3:
            return self.known(NAMES, NAMES_HELD)
        return self.invented().capitalize()

    def room(self) -> str:
        dice = self.rng.random()
        if dice < 0.35:
            return self.known(ROOMS, ROOMS_HELD)
        if dice < 0.45:
            return f"{self.name()}'s room"
        return f"{self.word()} room" if dice < 0.7 else self.word()

    def rooms(self, count: int) -> list[str]:
        """Different rooms, none of which contains another."""
        found: list[str] = []
        while len(found) < count:
            room = self.room()
            if not any(room in other or other in room for other in found):
                found.append(room)
        return found

    def thing(self) -> str:
        if self.rng.random() < 0.4:
            return self.known(THINGS, THINGS_HELD)
        return self.word()

    def place(self) -> str:
        if self.rng.random() < 0.5:
            return self.known(PLACES, PLACES_HELD)
        spot = self.rng.choice(("in the", "under the", "behind the", "on the", "next to the"))
        return f"{spot} {self.word()}"

    def food(self) -> str:
        if self.rng.random() < 0.4:
            return self.known(FOODS, FOODS_HELD)
        return self.word()

    def town(self) -> str:
        return self.invented().capitalize()

    def code(self) -> str:
        """A password or number with pieces that cannot be guessed."""
        rng = self.rng
        shape = rng.randrange(4)
        if shape == 0:
            return f"{self.word()}-{rng.randrange(10, 10000)}"
        if shape == 1:
            return f"{self.invented().capitalize()}{rng.randrange(10, 10000)}"
        if shape == 2:
            return f"{self.word()} {self.word()}"
        return "".join(rng.choice("0123456789") for _ in range(rng.randrange(4, 8)))

    def digits(self) -> str:
        return " ".join(
            "".join(self.rng.choice("0123456789") for _ in range(3))
            for _ in range(self.rng.choice((2, 2, 3)))
        )

    def clock(self) -> str:
        hour, minute = self.rng.randrange(24), self.rng.randrange(60)
        if self.rng.random() < 0.75:
            return f"{hour:02}:{minute:02}"
        return f"{hour % 12 or 12}:{minute:02} {'am' if hour < 12 else 'pm'}"

    def day(self) -> str:
        return f"{self.rng.randrange(1, 29)} {self.rng.choice(MONTHS)}"


NUMBERS = spaced(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
TENS = spaced("twenty thirty forty fifty sixty seventy eighty ninety")


def spelled(number: int) -> str:
    """A number below 100 in words."""
    if number < 20:
        return NUMBERS[number]
    tens = TENS[number // 10 - 2]
    return tens if number % 10 == 0 else f"{tens} {NUMBERS[number % 10]}"


def listed(words: list[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
