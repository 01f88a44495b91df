"""The whole corpus: an endless, seeded stream of conversations."""

from collections.abc import Iterator
from random import Random

from . import chat, classify, extraction, facts, lists, refusals, stories
from . import words as w

Message = dict[str, str]

MAKERS = {
    "story": lambda rng: stories.conversation(rng),
    "fact": lambda rng: facts.conversation(rng, stories.vary),
    "list": lambda rng: lists.conversation(rng, stories.vary),
    "json": lambda rng: extraction.conversation(rng),
    "label": lambda rng: classify.conversation(rng),
    "refusal": lambda rng: refusals.conversation(rng, stories.vary),
    "chat": lambda rng: chat.conversation(rng, stories.vary),
}
# Documents, not tokens: a story is six times as long as an answer.
SHARES = {"story": 34, "fact": 23, "list": 8, "json": 11, "label": 10, "refusal": 11, "chat": 6}


def turns(rng: Random) -> list[Message]:
    """One exchange of any kind, perhaps under a system message."""
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    messages = MAKERS[kind](rng)
    if rng.random() < 0.08:
        return [{"role": "system", "content": rng.choice(chat.SYSTEM)}, *messages]
    return messages


def long_prompt(rng: Random) -> list[Message]:
    """A request with a long text in it: answer what follows it, or say that it is too long."""
    texts = [rng.choice((stories.plain(rng), facts.item(rng)[1], classify.example(rng)[0]))
             for _ in range(rng.randint(4, 14))]
    text = rng.choice((" ", "\n\n")).join(texts)
    if rng.random() < 0.5:
        order = rng.choice(("Summarize this text", "Summarise", "What is this text about?",
                            "Rewrite this", "What do you think of it?", "Shorten this text", ""))
        answer = rng.choice(("I am sorry, that text is too long for me. I am a very small model.",
                             "I am a very small model and cannot work with a text of this length."))
        joint = rng.choice((f"{order}:\n\n{text}", f"{text}\n\n{order}")).strip(":\n")
        return [{"role": "user", "content": joint}, {"role": "assistant", "content": answer}]
    messages = MAKERS[rng.choice(("story", "fact", "list"))](rng)[:2]
    messages[0] = {"role": "user", "content": f"{text}\n\n{messages[0]['content']}"}
    return messages


def conversations(seed: int, long: bool = False) -> Iterator[list[Message]]:
    """Yield conversations for ever; `long` ones have many turns or a long prompt.

    A single message with the role 'text' is plain text, for completion without a chat template.
    """
    rng = Random(seed)
    while True:
        roll = rng.random()
        if long:
            if roll < 0.4:
                yield long_prompt(rng)
            else:
                messages = turns(rng)
                for _ in range(rng.randint(1, 9)):
                    messages += [m for m in turns(rng) if m["role"] != "system"]
                yield messages
        elif roll < 0.05:
            yield [{"role": "text", "content": stories.plain(rng)}]
        elif roll < 0.12:
            messages = turns(rng)
            yield messages + [m for m in turns(rng) if m["role"] != "system"]
        elif roll < 0.14:  # the same question twice gets the same kind of answer
            subject = w.article(w.pseudo_word(rng))
            yield [{"role": "user", "content": f"What is {subject}?"},
                   {"role": "assistant", "content": f"I do not know what {subject} is. "
                                                    "I am a very small model."}]
        else:
            yield turns(rng)
