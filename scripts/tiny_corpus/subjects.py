# ruff: noqa: SIM905 - long word lists read better as text
"""Who or what a story is about: the phrase in the request and every later way to refer to it."""

from dataclasses import dataclass
from random import Random

from . import words as w

PRONOUNS = {
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself", "was": "was"},
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself", "was": "was"},
    "it": {"he": "it", "him": "it", "his": "its", "himself": "itself", "was": "was"},
    "they": {"he": "they", "him": "them", "his": "their", "himself": "themselves", "was": "were"},
}

# (in the request, in the story) for "a dragon who ..."; the story speaks in the past tense.
TRAITS = [
    ("is afraid of {fear}", "was afraid of {fear}"),
    ("loves {topic}", "loved {topic}"),
    ("hates {topic}", "hated {topic}"),
    ("wants to {skill}", "wanted to {skill}"),
    ("lives in {home}", "lived in {home}"),
    ("lost {his} {item}", "lost {his} {item}"),
    ("is always late", "was always late"),
    ("never sleeps", "never slept"),
    ("likes to {skill}", "liked to {skill}"),
    ("has no friends", "had no friends"),
    ("finds {item_a}", "found {item_a}"),
    ("talks too much", "talked too much"),
    ("goes to school", "went to school"),
    ("wanted to {skill}", "wanted to {skill}"),
    ("lost {his} {item}", "lost {his} {item}"),
    ("found {item_a}", "found {item_a}"),
]
SKILLS = """fly swim dance sing paint read cook sleep jump run climb whistle skate juggle count
smile laugh bake ski draw write sail dream roar hide travel""".split()
FEARS = ["the dark", "water", "thunder", "heights", "mice", "spiders", "loud noises", "strangers",
         "the sea", "shadows", "the wind", "school", "fire", "bees", "deep water", "snow"]
HOMES = ["a castle", "the forest", "a small house", "the mountains", "a big city", "a cave",
         "a lighthouse", "a garden", "a village by the sea", "an old tree", "a library", "a shoe"]


@dataclass(frozen=True)
class Subject:
    """`ask` stands in the request, `intro` in the first sentence, `name` in all later ones."""

    ask: str
    intro: str
    name: str
    pronoun: str
    kind: str  # "being", "thing", "unique" (the moon) or "topic" (music)
    cannot: str = ""  # the verb of "who cannot <verb>"
    word: str = ""  # the noun that must appear in the story

    def forms(self) -> dict[str, str]:
        """The fields a story template may use; capitalised forms carry a capital key."""
        fields = dict(PRONOUNS[self.pronoun], s=self.name, intro=self.intro)
        fields |= {w.capital(key): w.capital(value) for key, value in fields.items()}
        return fields


def noun_of(rng: Random) -> tuple[str, str, str]:
    """Draw (noun, pronoun, kind); about one in four nouns is invented on the spot."""
    roll = rng.random()
    either = rng.choice(("he", "she"))
    if roll < 0.22:
        return w.pseudo_word(rng), rng.choice(("he", "she", "it")), "being"
    if roll < 0.52:
        return w.spaced(rng.choice(w.ANIMALS)), either, "being"
    if roll < 0.62:
        return rng.choice(w.CREATURES), either, "being"
    if roll < 0.78:
        pool, pronoun = rng.choice(((w.WOMEN, "she"), (w.MEN, "he"), (w.PEOPLE, either)))
        return w.spaced(rng.choice(pool)), pronoun, "being"
    return w.spaced(rng.choice(w.THINGS)), "it", "thing"


def name_of(rng: Random, pronoun: str) -> str:
    """A name that suits the pronoun; one in three is invented."""
    if rng.random() < 0.33:
        return w.capital(w.pseudo_word(rng))
    return rng.choice({"he": w.BOYS, "she": w.GIRLS}.get(pronoun, w.BOYS + w.GIRLS))


def _decorated(rng: Random, noun: str) -> str:
    """Perhaps one or two adjectives before the noun."""
    roll = rng.random()
    if roll < 0.5:
        return noun
    first = w.pseudo_word(rng) if roll > 0.95 else rng.choice(w.ADJECTIVES)
    if roll < 0.85:
        return f"{first} {noun}"
    second = rng.choice([word for word in w.ADJECTIVES if word != first])
    return f"{first} {second} {noun}" if roll < 0.9 else f"{first}, {second} {noun}"


def _single(rng: Random) -> Subject:
    noun, pronoun, kind = noun_of(rng)
    full = _decorated(rng, noun)
    ask = intro = w.article(full)
    later = f"the {full}" if len(full.split()) == 2 and rng.random() < 0.4 else f"the {noun}"
    cannot = ""
    roll = rng.random()
    if roll < 0.22:
        called = name_of(rng, pronoun)
        joint = rng.choice(("named", "called"))
        ask = f"{ask} {joint} {called}"
        intro = f"{intro} {joint} {called}"
        later = called
        kind = "being"
        if pronoun == "it":
            pronoun = rng.choice(("he", "she")) if called not in w.BOYS + w.GIRLS else (
                "he" if called in w.BOYS else "she")
    elif roll < 0.34:
        link = rng.choice(("who", "who", "that"))
        verb = w.pseudo_word(rng) if rng.random() < 0.1 else rng.choice(SKILLS)
        cannot, kind = verb, "being"
        ask += f" {link} {rng.choice(('cannot', 'cannot', 'could not', 'can not'))} {verb}"
        intro += f" who could not {verb}"
    elif roll < 0.46:
        item = w.spaced(rng.choice(w.THINGS))
        fill = dict(PRONOUNS[pronoun], fear=rng.choice(FEARS), skill=rng.choice(SKILLS),
                    topic=w.spaced(rng.choice(w.TOPICS)), home=rng.choice(HOMES), item=item,
                    item_a=w.article(item))
        present, past = rng.choice(TRAITS)
        ask += f" {rng.choice(('who', 'who', 'that'))} {present.format(**fill)}"
        intro += f" who {past.format(**fill)}"
        kind = "being"
    elif roll < 0.50:
        ask = full  # "story about fox"
    elif roll < 0.54:
        ask, intro, later = (f"the {full}",) * 3
    return Subject(ask, intro, later, pronoun, kind, cannot, noun)


def _family(rng: Random) -> Subject:
    pool, pronoun = rng.choice(((w.WOMEN, "she"), (w.MEN, "he"), (w.ANIMALS, "he"),
                                (w.PEOPLE, "she"), (w.THINGS, "it")))
    noun = w.spaced(rng.choice(pool))
    extra = f"{rng.choice(w.ADJECTIVES)} " if rng.random() < 0.25 else ""
    kind = "thing" if pool is w.THINGS else "being"
    later = f"my {noun}"
    if rng.random() < 0.3:
        pronoun = rng.choice(("he", "she")) if pronoun == "it" else pronoun
        name = name_of(rng, pronoun)
        full = f"my {extra}{noun} {name}"
        return Subject(full, full, name, pronoun, "being", "", name)
    return Subject(f"my {extra}{noun}", f"my {extra}{noun}", later, pronoun, kind, "", noun)


def _named(rng: Random) -> Subject:
    pronoun = rng.choice(("he", "she"))
    name = name_of(rng, pronoun)
    if rng.random() < 0.2:
        noun = w.pseudo_word(rng) if rng.random() < 0.3 else w.spaced(
            rng.choice(w.ANIMALS + w.PEOPLE))
        full = f"{name} the {noun}"
        return Subject(full, full, name, pronoun, "being", "", name)
    return Subject(name, name, name, pronoun, "being", "", name)


def _many(rng: Random) -> Subject:
    noun, _, kind = noun_of(rng)
    several = w.plural(noun)
    adjective = f"{rng.choice(w.ADJECTIVES)} " if rng.random() < 0.3 else ""
    count = rng.choice(("two", "two", "three", "four", "five", "some", ""))
    ask = f"{count} {adjective}{several}".strip()
    intro = ask if count else f"some {ask}"
    later = f"the {count} {several}" if count == "two" and rng.random() < 0.4 else f"the {several}"
    return Subject(ask, intro, later, "they", kind, "", several)


def _pair(rng: Random) -> Subject:
    (one, _, first_kind), (two, _, second_kind) = noun_of(rng), noun_of(rng)
    if one == two or "thing" in (first_kind, second_kind):
        return _single(rng)
    if rng.random() < 0.15:
        a, b = name_of(rng, "he"), name_of(rng, "she")
        return Subject(f"{a} and {b}", f"{a} and {b}", f"{a} and {b}", "they", "being", "", a)
    ask = f"{w.article(_decorated(rng, one))} and {w.article(_decorated(rng, two))}"
    return Subject(ask, ask, f"the {one} and the {two}", "they", "being", "", one)


def _unique(rng: Random) -> Subject:
    noun = w.spaced(rng.choice(w.UNIQUE))
    return Subject(f"the {noun}", f"the {noun}", f"the {noun}", "it", "unique", "", noun)


def _topic(rng: Random) -> Subject:
    noun = w.pseudo_word(rng) if rng.random() < 0.2 else w.spaced(rng.choice(w.TOPICS))
    return Subject(noun, noun, noun, "it", "topic", "", noun)


def draw(rng: Random) -> Subject:
    """Draw a subject; single animals, people and things are the most common."""
    makers = (_single, _family, _named, _many, _pair, _unique, _topic)
    return rng.choices(makers, (66, 5, 8, 9, 5, 3, 5))[0](rng)
