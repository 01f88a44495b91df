# ruff: noqa: SIM905 - long word lists read better as text
# ruff: noqa: RUF001 - foreign scripts are meant to be here
"""What the model cannot do, said politely: better an honest 'no' than an invented answer."""

from random import Random

from . import subjects
from . import words as w

ABLE = ["I can tell short stories, answer simple questions and make small lists.",
        "But I can tell you a short story, if you like.",
        "You could ask me for a short story or a simple list.",
        "I am good at short stories and simple questions.",
        "A bigger model can help you with that."]

CODE = """Write a {lang} function that {task}|Write a program that {task}|
Write {lang} code to {task2}|
How do I {task2} in {lang}?|Write a {lang} script|Fix this code: print(x|def f(x): return x|
Explain this {lang} code|Write a SQL query|write a regex for email addresses|Write an HTML page|
SELECT * FROM users|Implement quicksort|What does this function do?|
Write a unit test for {lang}""".replace("\n", "").split("|")
LANGS = "Python Java Rust C++ JavaScript Go SQL bash Ruby PHP".split()
TASKS = [("sorts a list", "sort a list"), ("reads a file", "read a file"),
         ("adds two numbers", "add two numbers"), ("reverses a string", "reverse a string"),
         ("finds prime numbers", "find prime numbers"), ("opens a window", "open a window")]
NEWS = """What is the news today?|Who won the game yesterday?|Who is the president of {c}?|
What time is it?|What is the weather today?|What is the date today?|What day is it today?|
Who won the election?|What is the price of {t}?|What happened yesterday?|Is it raining in {c}?|
How is the weather in {c}?|What is the population of {c}?|Who is the prime minister?|
What are the latest news about {t}?|Who is the king of {c}?""".replace("\n", "").split("|")
MEDICINE = """I have a headache, what should I take?|My {p} hurts. What should I do?|
Is {t} good for my health?|Which medicine helps against a cold?|How much aspirin can I take?|
I feel sick, what is it?|Can you give me medical advice?|What are the symptoms of flu?|
Should I sue my neighbour?|Can you give me legal advice?|Should I buy shares?|
How do I lose weight?|Is this mole dangerous?|How should I invest my money?""".replace(
    "\n", "").split("|")
LONG = """Write an essay about {t}|Write a long essay about {t}|Write a 1000 word article about {t}|
Write a novel about {t}|Write a report on {t}|Write a poem about {t}|Write a song about {t}|
Write a blog post about {t}|Write a haiku about {t}|Tell me a joke|Tell me a joke about {t}|
Write an email to my boss|Write a letter to {n}|Write a speech about {t}|Write a business plan|
Summarize this text|Summarize the history of {c}|Summarise this article|
Write a recipe for {t}|Give me a recipe for {t}|How do I cook {t}?|Plan a trip to {c}""".replace(
    "\n", "").split("|")
TRANSLATE = """Translate {t} into {l}|Translate this into {l}: The {t} is big.|
How do you say {t} in {l}?|What is {t} in {l}?|Say hello in {l}|Speak {l}|
Can you speak {l}?|Translate to {l}""".replace("\n", "").split("|")
LANGUAGES = "French German Spanish Italian Russian Chinese Japanese Arabic Latin Polish".split()
KNOWLEDGE = """Who wrote {T}?|Who invented the {t}?|When was {n} born?|Why is the {t} so {a}?|
How does a {t} work?|Explain {x}|Explain {x} to me|What is the meaning of life?|Who was {n}?|
Who is {n}?|When was the {t} invented?|How old is {n}?|What happened in 1{d}{d}{d}?|
Who discovered {x}?|How far is it to {c}?|How tall is the {t}?|Why do {ts} exist?|
What do you think about {x}?|What is your opinion on {x}?|Who painted the {t}?|
How many {ts} are there in {c}?|How do I build a {t}?|How can I repair my {t}?|
What is the difference between {x} and {x2}?|What is the best {t}?|Where can I buy a {t}?|
Should I learn {x}?|Tell me everything about {x}|Compare {x} and {x2}|Prove that {x} is true|
What causes {x}?|Describe quantum physics|What is machine learning?|What is the speed of light?|
Why is the sky blue?|How big is the universe?""".replace("\n", "").split("|")

ANSWERS = {
    "code": ["I am a very small model, so I cannot write or explain code.",
             "I am sorry, but I cannot help with code. I am a very small model."],
    "news": ["I do not know that. I am a very small model and I know nothing about the world "
             "today.",
             "I am sorry, I cannot know that. I am a very small model without any news."],
    "medicine": ["I am a very small model and cannot give advice on that. Please ask an expert.",
                 "I am sorry, but I cannot give such advice. Please ask an expert."],
    "long": ["I am a very small model, so I cannot write that.",
             "I am sorry, that is too difficult for me. I am a very small model."],
    "translate": ["I am a very small model and I only speak English.",
                  "I am sorry, I cannot translate. I am a very small model and only know English."],
    "knowledge": ["I do not know that. I am a very small model.",
                  "I am sorry, I do not know. I am a very small model."],
    "maths": ["I am a very small model and can only do very small sums.",
              "I am sorry, that sum is too big for me. I can only add very small numbers."],
    "foreign": ["I am sorry, I only understand English.",
                "I am a very small model and I only understand English."],
    "nonsense": ["I am sorry, I do not understand that.",
                 "I do not understand. Could you say that in another way?"],
}
POOLS = {"code": CODE, "news": NEWS, "medicine": MEDICINE, "long": LONG, "translate": TRANSLATE,
         "knowledge": KNOWLEDGE}

FOREIGN = """Wie geht es dir?|Erzähl mir eine Geschichte|Guten Tag, wer bist du?|Was ist das?|
Bonjour, comment ça va?|Raconte une histoire|Où est la gare?|Je ne comprends pas|Hola, ¿qué tal?|
Cuéntame un cuento|¿Dónde está la playa?|Ciao, come stai?|Raccontami una storia|Olá, tudo bem?|
Hej, hur mår du?|Jak się masz?|Привет, как дела?|Расскажи сказку про лису|Кто ты?|Что это такое?|
你好|你是谁？|讲一个故事|今天天气怎么样？|
こんにちは|お元気ですか|物語を話してください|안녕하세요|이야기 해줘|
مرحبا|كيف حالك؟|احك لي قصة|नमस्ते|मुझे एक कहानी सुनाओ|Γειά σου|Τι κάνεις;|שלום|สวัสดี|
Xin chào""".replace("\n", "").split("|")
SCRIPTS = [(0x0430, 0x044F), (0x4E00, 0x9FA5), (0x3041, 0x3093), (0x0627, 0x064A), (0x03B1, 0x03C9),
           (0xAC00, 0xD7A0), (0x0905, 0x0939), (0x05D0, 0x05EA), (0x00C0, 0x017F)]


def _foreign(rng: Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(FOREIGN)
    low, high = rng.choice(SCRIPTS)
    return " ".join("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(2, 6)))
                    for _ in range(rng.randint(1, 4)))


def _maths(rng: Random) -> str:
    a, b, c = rng.randint(21, 9999), rng.randint(11, 999), rng.randint(2, 9)
    return rng.choice((f"What is {a} + {b}?", f"What is {a} times {c}?", f"{a} * {b}", f"{a} / {c}",
                       f"Calculate {a} - {b}", f"What is the square root of {a}?", f"{a}+{b}",
                       f"Solve x + {b} = {a}", f"What is {c} percent of {a}?",
                       f"{a} divided by {b}",
                       f"Integrate x^{c}", f"What is {a}x{b}?", f"{c}*{c}*{b}"))


def _nonsense(rng: Random) -> str:
    words = [w.pseudo_word(rng) for _ in range(rng.randint(1, 6))]
    if rng.random() < 0.3:
        words = ["".join(rng.choice("asdfghjklqwertyuiopzxcvbnm;1234567890#$%&@") for _ in
                         range(rng.randint(3, 14))) for _ in range(rng.randint(1, 3))]
    return " ".join(words) + rng.choice(("", "", "?", "!", "."))


def _unknown_capital(rng: Random) -> tuple[str, str]:
    country = w.capital(w.pseudo_word(rng))
    return (f"What is the capital of {country}?",
            f"I do not know the capital of {country}. I am a very small model.")


def _request(rng: Random, kind: str) -> str:
    if kind in ("maths", "foreign", "nonsense"):
        return {"maths": _maths, "foreign": _foreign, "nonsense": _nonsense}[kind](rng)
    task, task2 = rng.choice(TASKS)
    topics = [w.spaced(word) for word in rng.sample(w.TOPICS, 2)]
    thing = subjects.noun_of(rng)[0] if rng.random() < 0.4 else w.spaced(rng.choice(w.THINGS))
    name = subjects.name_of(rng, "he")
    surname = w.capital(w.pseudo_word(rng))
    text = rng.choice(POOLS[kind])
    thing = topics[0] if kind in ("long", "medicine") else thing
    return text.replace("a {t}", w.article(thing)).format(
        lang=rng.choice(LANGS), task=task, task2=task2, t=thing, ts=w.plural(thing),
        T=rng.choice((surname, f"the {w.capital(thing)}")),
        n=rng.choice((name, f"{name} {surname}")),
        a=rng.choice(w.ADJECTIVES), x=topics[0], x2=topics[1], d=rng.randint(0, 9),
        c=rng.choice(("France", "Germany", "the world", *w.CITIES)), l=rng.choice(LANGUAGES),
        p=rng.choice(("head", "back", "arm", "foot", "knee", "stomach")))


def conversation(rng: Random, vary) -> list[dict[str, str]]:
    """One request beyond the model, and a polite no."""
    kinds = (*POOLS, "maths", "foreign", "nonsense")
    kind = rng.choices(kinds, (10, 9, 7, 14, 6, 22, 10, 9, 13))[0]
    if rng.random() < 0.04:
        question, answer = _unknown_capital(rng)
    else:
        question, answer = _request(rng, kind), rng.choice(ANSWERS[kind])
        if rng.random() < 0.4:
            answer += " " + rng.choice(ABLE)
    question = question if kind in ("code", "foreign", "nonsense") else vary(rng, question)
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
