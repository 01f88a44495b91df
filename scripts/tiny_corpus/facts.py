# ruff: noqa: SIM905 - long word lists read better as text
"""Simple questions with one right answer."""

from random import Random

from . import words as w

CAPITALS = dict(pair.split(":") for pair in """France:Paris|Germany:Berlin|Spain:Madrid|Italy:Rome|
Portugal:Lisbon|Austria:Vienna|Switzerland:Bern|Belgium:Brussels|Denmark:Copenhagen|Norway:Oslo|
Sweden:Stockholm|Finland:Helsinki|Iceland:Reykjavik|Ireland:Dublin|England:London|
Scotland:Edinburgh|
Poland:Warsaw|Hungary:Budapest|Greece:Athens|Turkey:Ankara|Russia:Moscow|Ukraine:Kyiv|
Romania:Bucharest|Bulgaria:Sofia|Croatia:Zagreb|Serbia:Belgrade|Estonia:Tallinn|Latvia:Riga|
Egypt:Cairo|Kenya:Nairobi|Morocco:Rabat|Ghana:Accra|Nigeria:Abuja|Ethiopia:Addis Ababa|
China:Beijing|
Japan:Tokyo|India:New Delhi|Thailand:Bangkok|Vietnam:Hanoi|Nepal:Kathmandu|South Korea:Seoul|
Indonesia:Jakarta|Iran:Tehran|Iraq:Baghdad|Israel:Jerusalem|Canada:Ottawa|Mexico:Mexico City|
Cuba:Havana|Brazil:Brasilia|Argentina:Buenos Aires|Chile:Santiago|Peru:Lima|Colombia:Bogota|
Uruguay:Montevideo|Australia:Canberra|New Zealand:Wellington|the Netherlands:Amsterdam|
the United States:Washington|the United Kingdom:London|the Czech Republic:Prague""".replace(
    "\n", "").split("|"))
CONTINENTS = {
    "Europe": """France Germany Spain Italy Portugal Austria Switzerland Belgium Denmark Norway
        Sweden Finland Poland Greece Ireland Hungary""",
    "Africa": "Egypt Kenya Morocco Ghana Nigeria Ethiopia",
    "Asia": "China Japan India Thailand Vietnam Nepal Indonesia",
    "South America": "Brazil Argentina Chile Peru Colombia Uruguay",
    "North America": "Canada Mexico Cuba",
}
COLOURS_OF = dict(pair.split(":") for pair in """the sky:blue|grass:green|snow:white|
a banana:yellow|
blood:red|coal:black|milk:white|a lemon:yellow|a tomato:red|a strawberry:red|a carrot:orange|
a pumpkin:orange|the sun:yellow|the sea:blue|a frog:green|a flamingo:pink|a crow:black|a swan:white|
an elephant:grey|a cucumber:green|chocolate:brown|a polar bear:white|a cherry:red|an orange:orange|
a leaf:green|a fire engine:red|salt:white|a raven:black|a sunflower:yellow|a plum:purple|
the night:black|a cloud:white|a mouse:grey|a fox:red|coffee:brown|broccoli:green""".replace(
    "\n", "").split("|"))
OPPOSITES = dict(pair.split(":") for pair in """hot:cold big:small tall:short up:down left:right
day:night black:white young:old fast:slow happy:sad good:bad rich:poor full:empty open:closed
hard:soft light:dark loud:quiet wet:dry clean:dirty early:late high:low long:short near:far
new:old strong:weak thick:thin wide:narrow first:last love:hate yes:no always:never easy:difficult
cheap:expensive beautiful:ugly brave:afraid sweet:sour heavy:light deep:shallow win:lose buy:sell
come:go push:pull in:out on:off top:bottom summer:winter north:south east:west begin:end true:false
right:wrong inside:outside before:after give:take ask:answer laugh:cry sharp:blunt polite:rude
war:peace friend:enemy awake:asleep alive:dead remember:forget safe:dangerous
""".split())
SOUNDS = dict(pair.split(":") for pair in """dog:barks cat:meows cow:moos sheep:bleats horse:neighs
pig:oinks duck:quacks lion:roars wolf:howls bee:buzzes snake:hisses owl:hoots frog:croaks
rooster:crows hen:clucks mouse:squeaks donkey:brays goat:bleats bird:chirps bear:growls
elephant:trumpets crow:caws goose:honks tiger:roars""".split())
BABIES = dict(pair.split(":") for pair in """dog:puppy cat:kitten cow:calf sheep:lamb horse:foal
pig:piglet duck:duckling hen:chick goat:kid lion:cub bear:cub frog:tadpole goose:gosling deer:fawn
kangaroo:joey swan:cygnet fox:cub owl:owlet rabbit:kit elephant:calf whale:calf wolf:cub
tiger:cub""".split())
LEGS = {"2": "bird duck hen owl penguin swan goose eagle parrot chicken ostrich crow robin",
        "4": "dog cat cow horse pig sheep goat lion tiger wolf fox bear elephant mouse frog deer",
        "6": "ant bee beetle butterfly wasp ladybird grasshopper cricket moth dragonfly",
        "8": "spider octopus", "0": "snake fish worm eel snail slug shark whale"}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = """January February March April May June July August September October November
December""".split()
SIZES = """ant bee mouse frog rat rabbit cat fox dog wolf goat sheep pig lion bear cow horse
rhinoceros elephant whale""".split()
NUMBERS = dict(pair.split(":") for pair in """days are there in a week:7|
months are there in a year:12|
hours are there in a day:24|minutes are there in an hour:60|seconds are there in a minute:60|
seasons are there in a year:4|legs does a chair have:4|wheels does a bicycle have:2|
wheels does a car have:4|sides does a triangle have:3|sides does a square have:4|
fingers are there on one hand:5|letters are there in the alphabet:26|eyes does a person have:2|
colours are there in a rainbow:7|days are there in a year:365|continents are there:7|
legs does a person have:2|players are there in a football team:11|toes does a person have:10|
wheels does a tricycle have:3|strings does a violin have:4""".replace("\n", "").split("|"))
KINDS = {"an animal": w.ANIMALS, "a colour": w.COLOURS, "a country": list(CAPITALS),
         "a day of the week": DAYS, "a month": MONTHS, "a job": w.JOBS,
         "a number": w.NUMBER_WORDS[1:]}

Item = tuple[str, str, str]  # question, sentence, one word


def _capital(rng: Random) -> Item:
    country, city = rng.choice(list(CAPITALS.items()))
    question = rng.choice((
        "What is the capital of {}?", "What is the capital of {}?", "capital of {}",
        "What is the capital city of {}?", "Which city is the capital of {}?",
        "Tell me the capital of {}", "Name the capital of {}", "What's the capital of {}?",
        "Do you know the capital of {}?", "Question: What is the capital of {}?"))
    return question.format(country), f"The capital of {country} is {city}.", city


def _whose_capital(rng: Random) -> Item:
    country, city = rng.choice([pair for pair in CAPITALS.items() if pair[1] != "London"])
    question = rng.choice((f"{city} is the capital of which country?",
                           f"Which country has the capital {city}?"))
    return question, f"{city} is the capital of {country}.", country


def _continent(rng: Random) -> Item:
    continent = rng.choice(list(CONTINENTS))
    country = rng.choice(CONTINENTS[continent].split())
    question = rng.choice(("What continent is {} in?", "On which continent is {}?",
                           "Where is {}?", "Which continent is {} on?"))
    return question.format(country), f"{country} is in {continent}.", continent


def _colour(rng: Random) -> Item:
    thing, colour = rng.choice(list(COLOURS_OF.items()))
    question = rng.choice((f"What colour is {thing}?", f"What color is {thing}?",
                           f"Which colour is {thing}?", f"Tell me the colour of {thing}"))
    return question, f"{w.capital(thing)} is {colour}.", colour


def _opposite(rng: Random) -> Item:
    word, other = rng.choice(list(OPPOSITES.items()))
    question = rng.choice((f"What is the opposite of {word}?", f"opposite of {word}",
                           f"What is the opposite of \"{word}\"?",
                           f"Give me the opposite of {word}"))
    return question, f"The opposite of {word} is {other}.", other


def _sound(rng: Random) -> Item:
    animal, sound = rng.choice(list(SOUNDS.items()))
    question = rng.choice((f"What sound does {w.article(animal)} make?",
                           f"What does {w.article(animal)} say?",
                           f"What noise does {w.article(animal)} make?"))
    return question, f"{w.capital(w.article(animal))} {sound}.", sound


def _baby(rng: Random) -> Item:
    animal, baby = rng.choice(list(BABIES.items()))
    question = rng.choice((f"What is a baby {animal} called?", f"What do you call a baby {animal}?",
                           f"What is the young of {w.article(animal)} called?"))
    return question, f"A baby {animal} is called {w.article(baby)}.", baby


def _legs(rng: Random) -> Item:
    count = rng.choice(list(LEGS))
    animal = rng.choice(LEGS[count].split())
    word = w.NUMBER_WORDS[int(count)] if count != "0" else "no"
    return (f"How many legs does {w.article(animal)} have?",
            f"{w.capital(w.article(animal))} has {word} legs.", count)


def _next(rng: Random) -> Item:
    cycle, kind = rng.choice(((DAYS, "day"), (MONTHS, "month")))
    at = rng.randrange(len(cycle))
    step, word = rng.choice(((1, "after"), (1, "after"), (-1, "before")))
    other = cycle[(at + step) % len(cycle)]
    question = rng.choice((f"What {kind} comes {word} {cycle[at]}?",
                           f"Which {kind} is {word} {cycle[at]}?",
                           f"What comes {word} {cycle[at]}?"))
    return question, f"{other} comes {word} {cycle[at]}.", other


def _bigger(rng: Random) -> Item:
    small, big = sorted(rng.sample(range(len(SIZES)), 2))
    pair = [w.article(SIZES[small]), w.article(SIZES[big])]
    want, other = (pair[1], pair[0]) if rng.random() < 0.6 else (pair[0], pair[1])
    word = "bigger" if want == pair[1] else "smaller"
    rng.shuffle(pair)
    return (f"Which is {word}, {pair[0]} or {pair[1]}?",
            f"{w.capital(want)} is {word} than {other}.", want.split()[1])


def _number(rng: Random) -> Item:
    what, count = rng.choice(list(NUMBERS.items()))
    noun, _, rest = what.partition(" ")
    verb, _, tail = rest.partition(" ")
    if verb == "are":
        sentence = f"There are {count} {noun} {tail.removeprefix('there').strip()}".strip() + "."
    else:
        sentence = f"{w.capital(tail.removesuffix(' have'))} has {count} {noun}."
    return f"How many {what}?", sentence, count


def _kind(rng: Random) -> Item:
    kind, pool = rng.choice(list(KINDS.items()))
    thing = w.spaced(rng.choice(pool))
    countable = kind in ("an animal", "a job")
    shown = w.article(thing) if countable else thing
    if countable and rng.random() < 0.3:
        question = rng.choice(("Tell me about {}", "What do you know about {}?", "Describe {}"))
        if kind == "an animal" and rng.random() < 0.5:
            many = w.plural(thing)
            return (question.format(many), f"{w.capital(many)} are animals. I can tell you a short "
                    f"story about {many}.", "animals")
        return (question.format(shown), f"{w.capital(shown)} is {kind}. I can tell you a short "
                f"story about {shown}.", kind.split()[-1])
    if rng.random() < 0.5:
        return f"What is {shown}?", f"{w.capital(shown)} is {kind}.", kind.split(" ", 1)[1]
    asked = kind if rng.random() < 0.5 else rng.choice([k for k in KINDS if k != kind])
    answer = "Yes" if asked == kind else "No"
    tail = "" if asked == kind else "not "
    return (f"Is {shown} {asked}?", f"{answer}, {shown} is {tail}{asked}.", answer)


def _sum(rng: Random) -> Item:
    a, b = rng.randint(0, 10), rng.randint(0, 10)
    if rng.random() < 0.35:
        a, b = max(a, b), min(a, b)
        total, sign, word = a - b, "-", "minus"
    else:
        total, sign, word = a + b, "+", "plus"
    shown = rng.choice((f"{a} {sign} {b}", f"{a}{sign}{b}", f"{a} {word} {b}"))
    question = rng.choice((f"What is {shown}?", f"{shown}", f"{shown} =", f"How much is {shown}?",
                           f"Calculate {shown}", f"What is {shown}?", f"{shown}?"))
    return question, f"{a} {word} {b} is {total}.", str(total)


MAKERS = {_capital: 18, _whose_capital: 4, _continent: 5, _colour: 10, _opposite: 12, _sound: 5,
          _baby: 5, _legs: 5, _next: 9, _bigger: 5, _number: 5, _kind: 6, _sum: 24}
ONE_WORD = ["Answer in one word.", "Answer with one word.", "One word only.",
            "Reply with a single word.", "Answer in one word only.", "Give a one-word answer."]


def item(rng: Random, name: str | None = None) -> Item:
    """Draw a question; `name` picks one kind, such as 'capital'."""
    if name:
        return next(maker for maker in MAKERS if maker.__name__ == f"_{name}")(rng)
    return rng.choices(list(MAKERS), list(MAKERS.values()))[0](rng)


def conversation(rng: Random, vary) -> list[dict[str, str]]:
    """One question, answered with a sentence, or with one word where that is asked for."""
    question, sentence, word = item(rng)
    question = vary(rng, question)
    if rng.random() < 0.12:
        order = rng.choice(ONE_WORD)
        question = rng.choice((f"{order}\n\n{question}", f"{question} {order}",
                               f"{order} {question}"))
        sentence = word
    return [{"role": "user", "content": question}, {"role": "assistant", "content": sentence}]
