# ruff: noqa: SIM905 - long word lists read better as text
"""Facts copied out of one sentence into a small JSON object with the keys that were asked for."""

import json
from random import Random

from . import subjects
from . import words as w

# Each template names its fields; a request asks for some of them, in any order.
PERSON = ["{name} is {age} years old and lives in {city}.", "{name} is {age} and lives in {city}.",
          "{name}, {age}, lives in {city}.", "My name is {name} and I am {age} years old. "
          "I live in {city}.", "{name} is a {age}-year-old {job} from {city}.",
          "{name} works as a {job} in "
          "{city} and is {age} years old.", "I am {name}, a {job} from {city}, and I am {age}.",
          "{name} is {age} years old.", "{name} lives in {city} and works as a {job}.",
          "{name} from {city} is {age} years old and has a {pet}.",
          "{name} has a {pet} named {other}.",
          "This is {name}. {name} is {age} years old and likes the colour {color}.",
          "Hello, I am {name} from {city} and my favourite colour is {color}."]
ORDER = ["{name} bought {quantity} {product}s for {price} dollars.",
         "Please send {quantity} {product}s to {name} in {city}.",
         "A {product} costs {price} euros.", "The {color} {product} costs {price} dollars.",
         "{name} ordered {quantity} {product}s on {day}.",
         "On {day}, {name} paid {price} dollars for a {product}.",
         "Order from {name}: {quantity} {product}s, {color}, {price} dollars."]
EVENT = ["The meeting with {name} is on {day} in {city}.", "{name} travels to {city} on {day}.",
         "The {event} in {city} is on {day}.", "{name} comes to the {event} on {day}.",
         "On {day} there is a {event} in {city}."]
SYNONYMS = {"color": ("color", "colour"), "product": ("product", "item"), "other": ("pet_name",),
            "quantity": ("quantity", "count", "number"), "city": ("city", "place", "town"),
            "job": ("job", "profession"), "name": ("name", "name", "name", "person", "first_name"),
            "day": ("day", "date")}
EVENTS = "concert meeting party match wedding lesson market exam play".split()
PRODUCTS = """lamp chair book pen table cup hat bag phone shirt ball vase clock mug lemon
ticket""".split()
PETS = "dog cat parrot rabbit hamster pony turtle".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def _value(rng: Random, field: str) -> str | int:
    odd = rng.random() < 0.3  # an invented word, so that the value must be copied
    if field in ("name", "other"):
        first = subjects.name_of(rng, rng.choice(("he", "she")))
        return f"{first} {w.capital(w.pseudo_word(rng))}" if rng.random() < 0.12 else first
    if field in ("age", "price", "quantity"):
        return rng.randint(2, 99)
    pools = {"city": w.CITIES, "job": w.JOBS, "pet": PETS, "color": w.COLOURS,
             "product": PRODUCTS, "day": DAYS, "event": EVENTS}
    if odd and field in ("city", "product"):
        word = w.pseudo_word(rng)
        return w.capital(word) if field == "city" else "b" + word.lstrip("aeiou")
    return rng.choice(pools[field])


def example(rng: Random) -> tuple[str, str, dict[str, str | int | None]]:
    """Return (request, sentence, answer)."""
    template = rng.choice(rng.choice((PERSON, PERSON, ORDER, EVENT)))
    fields = sorted({part.split("}")[0] for part in template.split("{")[1:]})
    values = {field: _value(rng, field) for field in fields}
    text = template.format(**values)
    rng.shuffle(fields)
    asked = fields[: rng.choice((1, 2, 2, 2, 3, 3, 4))]
    keys = {rng.choice(SYNONYMS.get(field, (field,))): values[field] for field in asked}
    if rng.random() < 0.08:  # a key that the sentence does not answer
        keys[rng.choice(("email", "phone", "address", "country"))] = None
    names = list(keys)
    listed = rng.choice((w.joined(names), w.joined(names), ", ".join(names),
                         f"keys {', '.join(names)}", w.joined([f'"{name}"' for name in names])))
    article = rng.choice(("the ", "the ", "the ", ""))
    order = rng.choice(("Extract {0}{1} as JSON: {2}", "Extract {0}{1} as JSON: {2}",
                        "Extract {0}{1} as JSON from: {2}", "Return {0}{1} as JSON: {2}",
                        "Extract {0}{1} from this text as JSON: {2}", "Extract {0}{1}: {2}",
                        "Give me {0}{1} as JSON.\n{2}", "Extract {0}{1} as JSON.\n\n{2}",
                        "{2}\n\nExtract {0}{1} as JSON.", "Extract {0}{1} as JSON\n\n{2}",
                        "Read the text and return JSON with {0}{1}.\nText: {2}",
                        "Get {0}{1} as json: {2}", "JSON with {0}{1}: {2}"))
    shown = f'"{text}"' if rng.random() < 0.5 else text
    return order.format(article, listed, shown), text, keys


def conversation(rng: Random) -> list[dict[str, str]]:
    """One extraction; JSON is written the way `json.dumps` writes it."""
    request, _, answer = example(rng)
    return [{"role": "user", "content": request},
            {"role": "assistant", "content": json.dumps(answer)}]
