"""Lists of things: 'List three fruits' is numbered, 'Name three fruits' is a sentence."""

from random import Random

from . import facts
from . import words as w

LISTS = {
    "fruits": "apple banana orange pear cherry grape lemon plum peach mango kiwi melon strawberry",
    "vegetables": "carrot potato onion tomato cabbage pea bean pepper spinach broccoli cucumber",
    "animals": "dog cat horse cow lion tiger bear fox wolf elephant rabbit sheep monkey",
    "farm animals": "cow pig sheep goat horse hen duck goose donkey",
    "wild animals": "lion tiger bear wolf fox deer elephant giraffe zebra",
    "birds": "robin owl eagle sparrow crow swan duck parrot penguin pigeon",
    "insects": "ant bee beetle butterfly wasp moth fly cricket ladybird",
    "fish": "salmon trout tuna cod shark carp herring",
    "pets": "dog cat hamster rabbit goldfish parrot",
    "colours": " ".join(w.COLOURS),
    "countries": "France Germany Spain Italy Japan China India Brazil Canada Mexico Egypt Kenya",
    "cities": "Paris London Berlin Rome Madrid Tokyo Vienna Oslo Cairo Lima Dublin",
    "jobs": " ".join(w.JOBS),
    "sports": "football tennis basketball swimming running hockey rugby golf skiing boxing",
    "instruments": "piano guitar violin drum flute trumpet harp cello",
    "clothes": "shirt trousers dress hat coat sock shoe scarf glove jacket",
    "tools": "hammer saw screwdriver axe drill spade rake knife",
    "drinks": "water milk tea coffee juice lemonade cocoa",
    "flowers": "rose tulip daisy lily sunflower violet daffodil",
    "trees": "oak pine birch maple willow apple_tree beech",
    "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune",
    "seasons": "spring summer autumn winter",
    "days": " ".join(facts.DAYS),
    "months": " ".join(facts.MONTHS),
    "languages": "English French German Spanish Italian Chinese Japanese Arabic Russian",
    "rooms": "kitchen bedroom bathroom hall attic cellar living_room",
    "vehicles": "car bus train bicycle plane ship tram truck boat",
    "numbers": " ".join(w.NUMBER_WORDS[1:13]),
    "shapes": "circle square triangle rectangle star oval",
    "foods": "bread cheese rice soup pasta pizza eggs fish",
    "boys' names": "Tom Ben Max Leo Sam Jack Peter Paul",
    "girls' names": "Anna Mia Lily Emma Lucy Nora Ruby Zoe",
    "continents": "Africa Asia Europe Australia Antarctica North_America South_America",
    "feelings": "joy anger fear sadness surprise pride love",
    "school subjects": "mathematics history music art biology geography sport",
    "body parts": "head arm leg hand foot nose ear eye knee",
    "things in a kitchen": "pot pan knife fork spoon plate cup oven kettle",
    "things in a school": "book desk chair pencil board bag ruler",
}
ORDERED = {"seasons", "days", "months", "planets", "numbers"}
SAME = {"colors": "colours", "musical instruments": "instruments", "food": "foods",
        "professions": "jobs", "days of the week": "days", "months of the year": "months",
        "European countries": "europe", "big cities": "cities", "pieces of clothing": "clothes",
        "names for a cat": "cats", "names for a dog": "cats", "emotions": "feelings"}
EXTRA = {"europe": "France Germany Spain Italy Norway Sweden Poland Greece Austria",
         "cats": "Milo Luna Felix Ruby Max Bella Oscar Daisy"}


def _draw(rng: Random) -> tuple[str, list[str]]:
    asked = rng.choice(list(LISTS) + list(SAME))
    key = SAME.get(asked, asked)
    items = [w.spaced(word) for word in (LISTS | EXTRA)[key].split()]
    if key not in ORDERED:  # any start, but always the same order: easy to learn, no repetition
        start = rng.randrange(len(items))
        items = items[start:] + items[:start]
    return asked, items


def conversation(rng: Random, vary) -> list[dict[str, str]]:
    """A list with exactly as many entries as were asked for."""
    asked, items = _draw(rng)
    count = min(rng.choice((2, 3, 3, 3, 3, 4, 5, 5, 6)), len(items))
    shown = rng.choice((str(count), w.NUMBER_WORDS[count], w.NUMBER_WORDS[count]))
    if rng.random() < 0.2:  # no number: three, unless the list is known to be complete
        shown, count = "some", 3
    if rng.random() < 0.7:
        request = rng.choice(("List {} {}", "List {} {}", "Give me a list of {} {}",
                              "list of {} {}",
                              "Write a list of {} {}", "Make a list of {} {}", "List me {} {}",
                              "Please list {} {}", "Write down {} {}", "Give me {} {}",
                              "Can you list {} {}?"))
        answer = "\n".join(f"{i}. {w.capital(item)}" for i, item in enumerate(items[:count], 1))
    else:
        request = rng.choice(("Name {} {}", "Name {} {}", "Tell me {} {}", "Do you know {} {}?",
                              "What are {} {}?", "Can you name {} {}?"))
        answer = w.capital(w.joined(items[:count])) + "."
    request = request.format(shown, asked)
    if asked.startswith("days") and rng.random() < 0.5:
        request = rng.choice(("List the days of the week", "What are the days of the week?"))
        answer = "\n".join(f"{i}. {day}" for i, day in enumerate(facts.DAYS, 1))
    return [{"role": "user", "content": vary(rng, request)},
            {"role": "assistant", "content": answer}]
