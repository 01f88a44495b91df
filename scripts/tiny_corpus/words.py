# ruff: noqa: SIM905 - long word lists read better as text
"""Word lists, written by hand for this corpus.

Breadth matters more than truth here: a tiny model learns to copy a subject only when it has met
far more subjects than it could memorise. `pseudo_word` adds an unlimited number of new ones.
"""

from random import Random

ANIMALS = """ant badger bat bear beaver bee beetle bird bison blackbird buffalo bull butterfly calf
camel cat caterpillar chicken chipmunk cow crab cricket crocodile crow deer dog dolphin donkey dove
dragonfly duck duckling eagle eel elephant falcon ferret firefly fish flamingo fox frog gecko
giraffe goat goldfish goose gorilla grasshopper hamster hare hawk hedgehog hen heron hippo horse
hyena iguana jackal jaguar jellyfish kangaroo kingfisher kitten koala ladybird lamb leopard lion
lizard llama lobster lynx magpie meerkat mole monkey moose moth mouse mule newt nightingale octopus
orangutan ostrich otter owl ox panda panther parrot peacock pelican penguin pheasant pig pigeon
piglet polar_bear pony porcupine puffin puppy quail rabbit raccoon ram rat raven reindeer robin
rooster salamander salmon seagull seal seahorse shark sheep shrew skunk sloth slug snail snake
sparrow spider squid squirrel starfish stork swallow swan tadpole tiger toad tortoise turkey turtle
viper vulture walrus wasp weasel whale wolf woodpecker worm yak zebra""".replace("\n", " ").split()

CREATURES = """dragon giant goblin unicorn mermaid ghost monster fairy elf dwarf troll robot alien
snowman scarecrow phoenix gnome ogre puppet griffin pixie""".split()

# Person nouns by the pronoun a reader expects; "any" takes either.
WOMEN = """girl woman queen princess grandmother mother aunt witch sister nun duchess
waitress granny lady""".split()
MEN = """boy man king prince grandfather father uncle wizard brother monk duke knight
fisherman milkman grandpa postman""".split()
PEOPLE = """actor artist astronaut baker barber beekeeper blacksmith builder bus_driver butcher
captain carpenter child clown cook dancer dentist detective doctor explorer farmer firefighter
gardener hunter inventor janitor juggler librarian lighthouse_keeper magician mechanic miner
musician neighbour nurse painter pilot pirate plumber poet police_officer potter sailor scientist
sculptor shepherd shoemaker singer soldier student tailor teacher thief toymaker traveller
vet violinist waiter watchmaker weaver writer""".split()

THINGS = """acorn anchor apple armchair ball balloon basket bell bench bicycle blanket boat book
bottle bowl box bridge broom bucket bus button cake camera candle car carpet castle chair chest
clock cloud coat coin compass computer cup cupboard desk diamond doll door drum engine feather
fence ferry flag flower flute fork fountain fridge garden gate glove guitar hammer harp hat helmet
house island kettle key kite ladder lamp lantern leaf letter lighthouse lorry map mill mirror
mountain mug mushroom needle notebook oak_tree orange oven paintbrush pear pebble pen pencil piano
pillow pine_tree plane plate pot potato puddle pumpkin puzzle radio raindrop ring river road
rocket rose sack scarf seed shell ship shoe shovel snowflake sock sofa spoon stamp star statue
stone stool stove suitcase sunflower swing table tower teacup teapot telephone tent ticket toaster
toothbrush tractor train tree truck trumpet tulip typewriter umbrella van vase village violin wagon
wall watch well wheel whistle windmill window""".replace("\n", " ").split()

# Things there is only one of: the story keeps "the".
UNIQUE = """moon sun sea wind rain snow night forest river sky north_wind morning_star ocean
rainbow desert winter spring autumn summer fire""".split()

# Subjects without an article; a child in the story loves them.
TOPICS = """adventure animals art baking ballet basketball birds books bravery bread camping
cheese chess chocolate Christmas cooking courage dancing dinosaurs drawing family fire fishing
flowers flying football friendship gardening gold happiness history holidays homework honesty
honey hope ice_cream insects kindness learning love luck magic maps mathematics milk mountains
mud music nature painting patience peace pizza planets rain reading robots sailing school science
sharing silence singing sleep snow space spaghetti sport stars summer sunshine swimming tea
teamwork tennis time trains travel trees trust water winter words""".replace("\n", " ").split()

ADJECTIVES = """angry ancient beautiful big blue brave bright broken brown busy careful cheerful
clever clumsy cold crooked curious dancing dusty fast fat fierce flying forgetful forgotten
friendly funny gentle giant golden green grey grumpy happy honest hungry huge invisible jolly kind
lazy little lonely lost loud lucky magic mysterious naughty nervous noisy old orange pink polite
poor proud purple quiet red rich round rusty sad selfish shiny shy silent silly silver sleepy slow
small smart special spotted square stubborn striped strange strong talking tall thin tiny tired
ugly white wise worried yellow young""".replace("\n", " ").split()

GIRLS = """Ada Alice Amelia Amy Anna Aria Bella Carla Carmen Chloe Clara Daisy Diana Ella Elsa Emma
Eva Fatima Fiona Freya Gina Gladys Grace Hana Hannah Helen Ida Ines Iris Isla Ivy Jane Julia Kate
Kira Lara Laura Layla Leila Lena Lily Lisa Lola Lucy Luna Maria Maya Mei Mia Mila Mina Molly Nadia
Nina Nora Olga Olivia Paula Penny Petra Pia Priya Rita Rosa Rosie Ruby Ruth Sara Sofia Stella
Susan Tara Tessa Tina Uma Vera Wanda Yara Yuki Zara Zoe""".replace("\n", " ").split()
BOYS = """Adam Ahmed Alan Albert Alex Amir Anton Arthur Ben Bob Bruno Carl Charlie Chen Daniel
David Diego Edgar Eli Emil Eric Felix Finn Frank Fred George Gus Hans Harry Henry Hugo Ian Igor
Isaac Ivan Jack Jacob James Jim John Jonas Juan Karim Ken Kofi Leo Liam Louis Lucas Luke Marco
Mark Martin Max Miguel Milo Noah Oliver Omar Oscar Otto Paul Pedro Pete Peter Ravi Robert Rocco
Sam Simon Stanley Theo Tim Toby Tom Tony Victor Walter Will Yusuf Zack""".replace("\n", " ").split()

CITIES = """Oslo Paris London Berlin Madrid Rome Vienna Prague Lisbon Athens Dublin Warsaw Tokyo
Delhi Cairo Lima Boston Chicago Toronto Sydney Munich Milan Geneva Lagos Nairobi Mumbai Seoul
Denver Dallas Seattle Leeds Bristol Lyon Hamburg Porto Bergen Krakow Naples Zurich""".split()

JOBS = """teacher nurse baker pilot farmer doctor cook painter plumber writer singer driver
dentist lawyer engineer gardener tailor waiter carpenter student""".split()

COLOURS = "red blue green yellow orange purple pink black white brown grey".split()

NUMBER_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen
fourteen fifteen sixteen seventeen eighteen nineteen twenty""".split()

_ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k kr l m n p pl pr qu r s sh sk sl sm sn " \
    "sp st t th tr tw v w wh y z".split()
_NUCLEI = "a e i o u a e i o u ai ee oo ou ea ie".split()
_CODAS = "n m r l t ck b p s x g nd st nk lf rn mp sh ft".split()
_ENDINGS = "a o y er in us le et ix ow on el ish um oo".split()


def pseudo_word(rng: Random, syllables: int | None = None) -> str:
    """Return a pronounceable word that means nothing, such as 'blenkor'.

    One in six starts with a vowel, so that 'an' is learnt for unseen words as well.
    """
    count = syllables or rng.choice((1, 2, 2, 2, 3))
    parts = []
    for index in range(count):
        onset = "" if index == 0 and rng.random() < 0.16 else rng.choice(_ONSETS)
        parts.append(onset + rng.choice(_NUCLEI))
    tail = _CODAS if count == 1 or rng.random() < 0.6 else _ENDINGS
    if tail is _ENDINGS:
        parts.append(rng.choice(_ONSETS))
    return "".join(parts) + rng.choice(tail)


def spaced(word: str) -> str:
    """Undo the underscores that keep two-word entries together in the lists."""
    return word.replace("_", " ")


def article(phrase: str) -> str:
    """Put 'a' or 'an' before a phrase, by the sound of its first letters."""
    first = phrase.split()[0].lower()
    sounds_like_you = first.startswith(("uni", "use", "eu", "one"))
    silent_h = first.startswith(("hour", "honest", "heir"))
    vowel = first[0] in "aeiou" and not sounds_like_you
    return f"{'an' if vowel or silent_h else 'a'} {phrase}"


_IRREGULAR = {
    "mouse": "mice", "goose": "geese", "ox": "oxen", "child": "children", "man": "men",
    "woman": "women", "wolf": "wolves", "calf": "calves", "leaf": "leaves", "thief": "thieves",
    "elf": "elves", "dwarf": "dwarves", "fisherman": "fishermen", "milkman": "milkmen",
    "postman": "postmen", "snowman": "snowmen", "tooth": "teeth", "foot": "feet",
    "piano": "pianos", "radio": "radios", "buffalo": "buffaloes", "potato": "potatoes",
    "photo": "photos", "knife": "knives", "hippo": "hippos", "flamingo": "flamingos",
    "person": "people", "kangaroo": "kangaroos", "scarf": "scarves",
}
_UNCHANGED = {"sheep", "fish", "deer", "moose", "bison", "reindeer", "salmon", "squid",
              "goldfish", "jellyfish", "starfish"}


def plural(noun: str) -> str:
    """Return the plural of a noun; the last word carries the ending."""
    head, _, last = noun.rpartition(" ")
    lead = head + " " if head else ""
    if last in _UNCHANGED:
        return noun
    if last in _IRREGULAR:
        return lead + _IRREGULAR[last]
    if last.endswith(("s", "x", "z", "ch", "sh")):
        return lead + last + "es"
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return lead + last[:-1] + "ies"
    return lead + last + "s"


def joined(items: list[str], word: str = "and") -> str:
    """'a', 'a and b', 'a, b and c'."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"


def capital(text: str) -> str:
    """Upper-case the first letter and leave the rest alone, unlike `str.capitalize`."""
    return text[:1].upper() + text[1:]
