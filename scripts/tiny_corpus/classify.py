# ruff: noqa: SIM905 - long word lists read better as text
"""Classification in one word, with the labels copied from the request."""

from random import Random

from . import subjects
from . import words as w

THINGS = """film book hotel food soup phone lamp service room concert meal game product shop school
coat song pizza coffee weather party trip holiday flight train show class app music staff delivery
chair car play story bed beach museum breakfast dinner shirt bag computer camera gift""".split()
GOOD = """great wonderful excellent fantastic lovely amazing perfect good beautiful delicious
brilliant superb nice pleasant fun""".split()
BAD = """terrible awful bad horrible boring disappointing poor broken ugly disgusting useless
dreadful slow dirty rude cold unpleasant""".split()
POSITIVE = """I love this {t}.|I absolutely loved it|Loved it!|Great {t}!|I really liked it.|
It was {g}.|Awesome!|{g} {t}|I am so happy!|A {g} and {g2} {t}.|We loved every minute.|
The {t} was {g}.|What a {g} {t}!|I am very happy with the {t}.|
This is the best {t} I have ever had.|The {t} was {g} and the people were {g2}.|I really enjoyed
 the {t}.|Thank you for the {g} {t}!|The {t} is {g}, and I will come back.|I would buy it again.|
Everything was {g}.|My family loved the {t}.|It works very well.|I had a {g} time.|
The {t} made me smile.|I recommend this {t} to everyone.|I love it!|Not bad at all, I liked the
 {t}.|Such a {g} day!|{n} was very happy with the {t}.|We had a {g} {t} and felt at
 home.""".replace("\n", "").split("|")
NEGATIVE = """I hate this {t}.|I absolutely hated it|Hated it!|Terrible {t}!|
I really disliked it.|It was {b}.|Never again!|{b} {t}|I am so sad.|A {b} and {b2} {t}.|
The day was long.|The {t} was {b}.|What a {b} {t}!|I am very unhappy with the {t}.|
This is the worst {t} I have ever had.|The {t} was {b} and the people were {b2}.|I did not like
 the {t}.|I want my money back.|The {t} is {b}, and I will never come back.|I would not buy it
 again.|Everything was {b}.|Nobody liked the {t}.|It does not work.|I had a {b} time.|
The {t} made me angry.|I do not recommend this {t}.|I hate it!|The {t} was not {g}.|A waste of
 money.|{n} was very angry about the {t}.|It broke after one day.|The {t} was late and {b}.|
We had a {b} {t} and went home early.""".replace("\n", "").split("|")
NEUTRAL = """The {t} is on the table.|The {t} starts at ten.|It was okay.|The {t} is blue.|I bought
 the {t} on Monday.|{n} has a {t}.|The {t} was neither good nor bad.|There is a {t} in the
 street.""".replace("\n", "").split("|")

TOPICS = {
    "sports": "{n} scored two goals.|The team won the match.|The tennis player lost the final.|"
              "The race starts at noon.|Our team trains every day.|The football game was exciting.|"
              "{n} swam a new record.|The coach is happy with the players.",
    "food": "The soup needs more salt.|{n} bakes bread every morning.|We ate pizza with cheese.|"
            "The apple pie tastes good.|Boil the rice for ten minutes.|The cook made pasta.|"
            "{n} likes cheese and tomatoes.|This restaurant serves fish.",
    "weather": "It will rain tomorrow.|The sun is shining today.|A storm is coming from the west.|"
               "It is cold and windy outside.|Snow fell all night.|The fog is very thick.|"
               "Tomorrow will be warm and sunny.|The temperature is below zero.",
    "music": "{n} plays the piano.|The band sang three songs.|The concert begins at eight.|"
             "She bought a new guitar.|The choir sings on Sunday.|The song is number one.|"
             "The violin sounded beautiful.|{n} wrote a new song.",
    "travel": "We flew to Spain.|The train to Paris leaves at nine.|{n} booked a hotel by the sea.|"
              "The plane was full.|I packed my suitcase for the trip.|"
              "We took a bus to the mountains.|"
              "The tourists visited the old town.|{n} lost a passport at the airport.",
    "technology": "The new phone has a better camera.|{n} repaired the computer.|The program has a "
                  "bug.|The laptop is very fast.|The robot can clean the floor.|"
                  "Update the software.|The website is down.|The screen is too dark.",
    "animals": "The cat sleeps all day.|A dog barked at {n}.|The horse eats grass.|The lion sleeps "
               "in the shade.|Birds build nests in spring.|The puppy is six weeks old.|"
               "The elephant drinks water.|{n} feeds the rabbits.",
    "health": "{n} has a headache.|The doctor gave me a pill.|Drink more water and sleep well.|"
              "My back hurts.|The nurse took my temperature.|{n} broke a leg.|I have a cold.|"
              "The patient is in hospital.",
    "politics": "The president gave a speech.|The election is in May.|Parliament passed a new law.|"
                "The minister met the mayor.|People vote on Sunday.|The government raised taxes.",
    "school": "The teacher gave us homework.|{n} passed the exam.|The class reads a book.|"
              "The pupils learn to write.|Our lesson begins at eight.|{n} forgot the homework.",
    "business": "The company sold more cars.|Prices rose again this year.|The bank opens at nine.|"
                "{n} started a new company.|The shop made a profit.|Sales were low in winter.",
}
TOPIC_WORDS = {
    "sports": "football tennis hockey goal match team player coach race swimming basketball medal "
              "champion stadium referee golf boxing skiing marathon cup",
    "food": "bread cheese soup pizza pasta rice cake apple dinner breakfast recipe sauce salad "
            "meat "
            "vegetable chocolate sugar butter kitchen restaurant cook",
    "weather": "rain snow storm wind fog cloud sunshine thunder lightning frost hail temperature "
               "forecast heat rainbow",
    "music": "song piano guitar violin drum band concert singer melody choir orchestra flute album "
             "rhythm trumpet opera",
    "travel": "trip hotel flight train airport passport suitcase tourist ticket beach holiday map "
              "journey cruise island guide",
    "technology": "computer phone software robot screen program website internet laptop battery "
                  "camera keyboard app machine chip",
    "animals": "dog cat horse lion bird elephant fish rabbit wolf tiger puppy kitten snake bear "
               "fox "
               "zoo",
    "health": "doctor nurse hospital pill medicine fever headache pain dentist patient illness "
              "cold "
              "cough vitamin",
    "politics": "president election minister parliament law government vote mayor party senator "
                "campaign",
    "school": "teacher homework exam lesson pupil class student grade classroom spelling book",
    "business": "company bank price profit sales market shop customer money factory office boss",
}
TOPIC_FRAMES = ["I read about the {k} yesterday.", "{n} talked about the {k}.", "The {k} was {g}.",
                "The {k} was {b}.", "{n} likes the {k}.", "We saw a new {k} today.", "My {k} is "
                "{g}.",
                "This article is about the {k}.", "{n} has a question about the {k}.",
                "Do you like the {k}?", "There is news about the {k} and the {k2}.",
                "The {k} and the {k2} were {g}.", "{n} thinks about the {k} all day.",
                "The {k} changed everything.", "People wait for the {k}.", "I need a {k}."]
TICKETS = {
    "billing": "I was charged twice.|My invoice is wrong.|I want a refund.|Where is my refund?|"
               "The price on my bill is too high.|Please send me the invoice.|My card was charged.|"
               "I paid twice for the same {t}.",
    "shipping": "My package has not arrived.|Where is my order?|The parcel is late.|When will the "
                "{t} be delivered?|The {t} was sent to the wrong address.|My delivery is missing.|"
                "The tracking number does not work.",
    "technical": "The app crashes when I open it.|I see an error message.|The screen stays black.|"
                 "The page does not load.|The {t} does not turn on.|It stopped working after the "
                 "update.|I cannot print.",
    "account": "I forgot my password.|I cannot log in.|Please delete my account.|"
               "How do I change my email address?|My account is locked.|"
               "I want to change my user name.",
}
URGENT = "Help, the house is on fire!|The server is down and nobody can work!|We need an answer " \
         "today!|Please call me at once!|This is an emergency.|I need it right now.|" \
         "It must be done immediately.|The water is running into the cellar!"
CALM = "No hurry.|You can answer next week.|I was just wondering about the {t}.|Have a nice day.|" \
       "Please reply when you have time.|It can wait.|I only wanted to say thank you.|Some day I " \
       "would like to know more."
SPAM = "You have won a million dollars! Click here!|Buy cheap watches now!|" \
       "Free money! Click this link!|Congratulations, you are our lucky winner!|" \
       "Get rich in one week!|" \
       "Send us your password to win a prize!|Lose weight fast with this pill!|Special offer, " \
       "only today!"
HAM = "The meeting is at ten.|Can you send me the report?|See you at lunch.|" \
      "Thank you for your help.|{n} is ill today.|The {t} is ready.|Shall we meet on Monday?|" \
      "Here are the photos of the trip."


def _fill(rng: Random, text: str) -> str:
    name = subjects.name_of(rng, rng.choice(("he", "she")))
    thing = rng.choice(THINGS) if rng.random() > 0.1 else "b" + w.pseudo_word(rng).lstrip("aeiou")
    good, good2 = rng.sample(GOOD, 2)
    bad, bad2 = rng.sample(BAD, 2)
    text = text.replace("a {g}", w.article(good)).replace("a {b}", w.article(bad))
    return text.format(t=thing, n=name, g=good, g2=good2, b=bad, b2=bad2)


def _sentiment(rng: Random) -> tuple[str, list[str], str]:
    three = rng.random() < 0.2
    pools = {"positive": POSITIVE, "negative": NEGATIVE} | ({"neutral": NEUTRAL} if three else {})
    label = rng.choice(list(pools))
    text = _fill(rng, rng.choice(pools[label]))
    if rng.random() < 0.2 and label != "neutral":
        text += " " + _fill(rng, rng.choice(pools[label]))
    return text, list(pools), label


def _grouped(rng: Random, pools: dict[str, str], most: int) -> tuple[str, list[str], str]:
    label = rng.choice(list(pools))
    text = rng.choice(pools[label].split("|"))
    if label in TOPIC_WORDS and rng.random() < 0.6:
        word, other = rng.sample(TOPIC_WORDS[label].split(), 2)
        text = rng.choice(TOPIC_FRAMES).replace("a {k}", w.article(word))
        text = text.replace("{k}", word).replace("{k2}", other)
    text = _fill(rng, text)
    others = [name for name in pools if name != label]
    labels = [label, *rng.sample(others, min(len(others), rng.randint(1, most)))]
    rng.shuffle(labels)
    return text, labels, label


def example(rng: Random) -> tuple[str, list[str], str, str]:
    """Return (text, labels, right label, what is being judged)."""
    roll = rng.random()
    if roll < 0.45:
        return *_sentiment(rng), "sentiment"
    if roll < 0.75:
        return *_grouped(rng, TOPICS, 4), "topic"
    if roll < 0.9:
        return *_grouped(rng, TICKETS, 3), "ticket"
    if roll < 0.95:
        return *_grouped(rng, {"urgent": URGENT, "not urgent": CALM}, 1), "message"
    return *_grouped(rng, {"spam": SPAM, "not spam": HAM}, 1), "message"


def conversation(rng: Random) -> list[dict[str, str]]:
    """One text and its label, nothing else."""
    text, labels, label, what = example(rng)
    if rng.random() < 0.5:
        rng.shuffle(labels)
    listed = w.joined(labels, "or") if rng.random() < 0.7 else ", ".join(labels)
    shown = f'"{text}"' if rng.random() < 0.3 else text
    order = rng.choice(("Classify as {l}: {t}", "Classify as {l}: {t}", "Classify as {l}.\n\n{t}",
                        "Classify as {l}\n\n{t}", "Say whether this is {l}: {t}",
                        "Say whether the {w} is {l}: {t}", "{l}?\n\n{t}",
                        "Classify the {w} as {l}: {t}", "Classify this {w} as {l}: {t}",
                        "Is this {l}? {t}", "{t}\n\nIs this {l}?", "{l}? {t}",
                        "Choose one of {l}: {t}", "Which {w} is it, {l}? {t}",
                        "Classify the following text as {l}. Answer with one word.\n{t}",
                        "Label the text with {l}.\nText: {t}", "{w} ({l}): {t}"))
    if what == "sentiment" and len(labels) == 2 and rng.random() < 0.3:
        order = rng.choice(("Classify: {t}", "Classify: {t}", "Classify the sentiment: {t}",
                            "Sentiment: {t}",
                            "What is the sentiment of this text? {t}",
                            "Classify the sentiment of this review: {t}"))
    request = order.format(l=listed, t=shown, w=what)
    return [{"role": "user", "content": w.capital(request) if rng.random() < 0.8 else
             request.lower()}, {"role": "assistant", "content": label}]
