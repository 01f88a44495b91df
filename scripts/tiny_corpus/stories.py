# ruff: noqa: SIM905 - long word lists read better as text
"""Short stories about whatever the request names, and follow-up questions about them."""

import re
from random import Random

from . import plots, subjects
from . import words as w
from .subjects import Subject

HELPERS = """old owl|wise owl|friendly bear|small bird|clever crow|kind woman|old man|young girl|
little mouse|grey wolf|big dog|black cat|old fisherman|kind baker|shy deer|funny frog|busy bee|
quick rabbit|brown squirrel|hungry goat|tall giraffe|old turtle|friendly giant|tiny fairy|
lost lamb|red fox|white horse|proud rooster|green frog|gentle elephant|old queen|lazy cat|
young wizard|friendly ghost|grumpy badger|clever girl|quiet boy|tired traveller|poor farmer|
little duck|spotted pony|round hedgehog|silver fish|cheerful sailor|kind nurse|old shepherd|
strange bird|lonely robot|busy beaver|brave knight""".replace("\n", "").split("|")
ITEMS = """kite|drum|lantern|blanket|basket|boat|hat|book|bell|mirror|ball|whistle|flute|map|
golden key|red scarf|silver coin|blue cup|wooden box|small mirror|warm coat|music box|
glass bottle|old clock|paper boat|white stone|yellow umbrella|picture|feather|ring|teapot|
green bag|spoon|little bell|rope|shell|toy train|puzzle|jar|pencil""".replace("\n", "").split("|")
FOODS = """warm bread|hot soup|an apple pie|some sweet berries|honey cakes|a pot of tea|cheese|
a big bowl of soup|ripe pears|hot chocolate|a plate of pancakes|fresh strawberries|nuts and honey|
a loaf of bread|roasted chestnuts|a small cake|cold milk|vegetable stew""".replace(
    "\n", "").split("|")
STOCKS = "apples nuts berries pears carrots plums potatoes pumpkins cherries beans".split()
PLACES = """in the forest|by the river|in the garden|under the old oak tree|near the lake|
behind the barn|on the hill|in the meadow|by the sea|at the edge of the woods|in the village|
next to the mill|on the beach|in the valley|under the bridge|at the market|in the park|
by the well|in the quiet street|near the station""".replace("\n", "").split("|")
FARS = """the old mill|the top of the hill|the blue lake|the dark forest|the lighthouse|
the far side of the river|the old bridge|the highest mountain|the castle|the edge of the sea|
the deep valley|the wooden tower|the waterfall|the small island|the ruins|the big rock|
the silver cave|the end of the road|the old windmill|the apple orchard""".replace(
    "\n", "").split("|")
SOUNDS = """a strange noise|a quiet voice|someone crying|a soft song|a loud cry|a low hum|
the ringing of a bell|a sad melody""".replace("\n", "").split("|")
WEATHERS = "sunny cold rainy windy foggy warm quiet snowy bright grey clear stormy".split()
TRICKS = """run very fast|climb like a cat|see in the dark|carry heavy things|hear every sound|
think quickly|shout very loudly|dig deep holes|make a fire|read maps|tie good knots|
find any path""".replace("\n", "").split("|")

OPEN_BEING = ["Once upon a time, there {was} {intro} who lived {place}.",
              "Once upon a time, {intro} lived {place}.", "There {was} once {intro} {place}.",
              "Long ago, {intro} lived {place}.", "{Intro} lived {place}.",
              "Once there {was} {intro}.", "Not so long ago, there {was} {intro}.",
              "Far away, in a small house {place}, lived {intro}.",
              "This is the story of {intro}."]
OPEN_KNOWN = ["{Intro} lived {place}.", "Once upon a time, {intro} lived {place}.",
              "This is the story of {intro}.", "Everyone {place} knew {intro}.",
              "Once upon a time, {intro} had a small house {place}."]
OPEN_THING = ["Once upon a time, there {was} {intro} {place}.", "There {was} once {intro} {place}.",
              "Long ago, there {was} {intro} {place}.", "Once there {was} {intro}.",
              "This is the story of {intro}."]
OPEN_UNIQUE = ["This is the story of {intro}.", "Every day, {intro} {was} there, {place}.",
               "Once upon a time, {intro} {was} sad.", "Long ago, {intro} could speak."]
OPEN_TOPIC = ["Once upon a time, there was {child} who loved {s} more than anything.",
              "This is a story about {s}. There was once {child} who loved {s}.",
              "{Child} lived {place}, and {c} loved {s}.",
              "Long ago, {child} had only one great love: {s}."]
ENDS = ["The end.", "And they lived happily ever after.", "", "", "", "", "", "", ""]

REQUESTS = """Tell me a story about {}|Tell me a story about {}|Tell me a story about {}|
Tell me a short story about {}|Write a story about {}|Write a short story about {}|
Write me a story about {}|Write a very short story about {}|Tell a story about {}|Story about {}|
A story about {}|Tell me a tale of {}|Tell me a tale about {}|Tell us a story about {}|
Can you tell me a story about {}?|Could you write a story about {}?|I want a story about {}|
I would like a story about {}|Please tell me a story about {}|Please write a short story about {}|
Give me a story about {}|Make up a story about {}|Tell me about {} in a short story|
Tell me a bedtime story about {}|Write a story for children about {}|Write a fairy tale about {}|
short story: {}|Tell the story of {}|Tell me the story of {}|Create a story about {}|
Tell me a funny story about {}|Write a sad story about {}|Tell me a nice little story about {}|
Write a tale of {}|Now tell me a story about {}|Do you know a story about {}?|
Write a story in which {} is the hero|Write a few sentences about {}|
Tell me a story with {}|Hello! Tell me a story about {}""".replace("\n", "").split("|")
ANY_REQUESTS = ["Tell me a story", "Tell me another story", "Write a story",
                "Tell me a short story",
                "Can you tell me a story?", "I want to hear a story", "Please tell me a story",
                "Write a short story", "another one", "One more, please",
                "Surprise me with a story",
                "Tell me a fairy tale", "Once upon a time", "story please"]


def vary(rng: Random, text: str) -> str:
    """Retype a request the way people do: lower case, other punctuation, a 'please'."""
    roll = rng.random()
    if roll < 0.22:
        text = text.lower()
    elif roll < 0.24:
        text = text.upper()
    if text.endswith("?") and rng.random() < 0.3:
        text = text[:-1]
    elif text[-1:].isalnum():
        text += rng.choice(("", "", "", "", ".", ".", ".", "!", " please", ", please", ", please."))
    return text


def _once_indefinite(text: str, field: str, noun: str) -> str:
    """Fill {field}: 'an old owl' at its first place, 'the owl' at the others."""
    short = "the " + noun.split()[-1]
    first = w.article(noun)

    def fill(match: re.Match[str]) -> str:
        nonlocal first
        phrase, first = first, short
        return w.capital(phrase) if match[1][0].isupper() else phrase

    return re.sub("{(" + field + "|" + w.capital(field) + ")}", fill, text)


def _plot(rng: Random, subject: Subject) -> tuple[list[str], list[list[str]]]:
    """Choose the openings and the steps that suit the subject."""
    if subject.kind == "topic":
        return OPEN_TOPIC, plots.TOPIC["loved"]
    if subject.kind == "unique":
        return OPEN_UNIQUE, rng.choice([plots.THING["wish"], plots.BEING["lonely"],
                                        plots.BEING["learn"], plots.BEING["rescue"]])
    indefinite = subject.intro != subject.name
    if subject.kind == "thing":
        openings = OPEN_THING if indefinite else OPEN_KNOWN
        return openings, rng.choice(list(plots.THING.values()))
    openings = OPEN_BEING if indefinite else OPEN_KNOWN
    if " who " in subject.intro:
        openings = [text for text in openings if "{intro} who" not in text and "{intro} {" not in
                    text and "{intro} lived" not in text and "{Intro} lived" not in text]
    if subject.cannot:
        return openings, plots.CANNOT
    return openings, rng.choice(list(plots.BEING.values()))


def tell(rng: Random, subject: Subject) -> tuple[str, str]:
    """Write a story and return it with the helper's noun."""
    girl = rng.random() < 0.5
    name = subjects.name_of(rng, "she" if girl else "he")
    helper = rng.choice([h for h in HELPERS if h.split()[-1] != subject.word.split()[-1]])
    item = rng.choice([i for i in ITEMS if i.split()[-1] != subject.word.split()[-1]])
    child = f"a {rng.choice(('girl', 'child') if girl else ('boy', 'child'))} named {name}"
    fields = subject.forms() | {
        "child": child, "Child": w.capital(child), "name": name, "Name": name,
        "c": "she" if girl else "he", "C": "She" if girl else "He",
        "c_his": "her" if girl else "his", "thing": item.split()[-1],
        "place": rng.choice(PLACES), "far": rng.choice(FARS), "sound": rng.choice(SOUNDS),
        "food": rng.choice(FOODS), "stock": rng.choice(STOCKS), "weather": rng.choice(WEATHERS),
        "skill": rng.choice(subjects.SKILLS), "trick": rng.choice(TRICKS),
        "verb": subject.cannot,
        "has": "have" if subject.pronoun == "they" else "has",
        "hearts": "hearts" if subject.pronoun == "they" else "heart",
    }
    openings, steps = _plot(rng, subject)
    sentences = [rng.choice(openings)] + [rng.choice(step) for step in steps]
    sentences = [text for text in [*sentences, rng.choice(ENDS)] if text]
    if rng.random() < 0.4:  # two paragraphs
        sentences[len(sentences) // 2] = "\n\n" + sentences[len(sentences) // 2]
    text = " ".join(sentences).replace(" \n", "\n")
    text = _once_indefinite(_once_indefinite(text, "h", helper), "item", item)
    return text.format(**fields), helper.split()[-1]


def conversation(rng: Random) -> list[dict[str, str]]:
    """One request with its story, sometimes with a question about it."""
    subject = subjects.draw(rng)
    request = rng.choice(REQUESTS).format(subject.ask)
    if rng.random() < 0.07:
        request = rng.choice(ANY_REQUESTS)
    story, helper = tell(rng, subject)
    if subject.ask[0].islower():  # a bare name that lost its capital could be anything
        request = vary(rng, request)
    messages = [{"role": "user", "content": request}, {"role": "assistant", "content": story}]
    if rng.random() < 0.06 and f"the {helper}" in story.lower() and subject.kind == "being":
        question, answer = rng.choice([
            ("Who was the story about?", f"The story was about {subject.intro}."),
            ("Who else was in the story?", f"There was also {w.article(helper)} in the story."),
            ("Thank you!", "You are welcome! Would you like another story?"),
            ("I liked that", "I am glad that you liked it! Shall I tell you another one?"),
        ])
        messages += [{"role": "user", "content": vary(rng, question)},
                     {"role": "assistant", "content": answer}]
    return messages


def plain(rng: Random) -> str:
    """A story without a request, for completions of 'Once upon a time'."""
    return tell(rng, subjects.draw(rng))[0]
