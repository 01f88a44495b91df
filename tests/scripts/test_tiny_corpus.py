"""The generated corpus of `tiny`: what a model reads, it will repeat, mistakes included."""

import json
import re
import sys
from itertools import islice
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from tiny_corpus import (
    classify,
    conversations,
    extraction,
    facts,
    lists,
    refusals,
    stories,
    subjects,
    words,
)


@pytest.fixture(scope="module")
def sample():
    """Three thousand short conversations and three hundred long ones."""
    return [*islice(conversations(7), 3000), *islice(conversations(8, long=True), 300)]


@pytest.fixture(scope="module")
def told():
    """Two thousand stories with their subjects."""
    rng = Random(11)
    drawn = [subjects.draw(rng) for _ in range(2000)]
    return [(subject, stories.tell(rng, subject)[0]) for subject in drawn]


def english_answers(sample):
    return [
        m["content"] for messages in sample for m in messages if m["role"] in ("assistant", "text")
    ]


def test_same_seed_gives_the_same_conversations():
    assert list(islice(conversations(3), 200)) == list(islice(conversations(3), 200))


def test_another_seed_gives_other_conversations():
    assert list(islice(conversations(3), 200)) != list(islice(conversations(4), 200))


def test_turns_alternate_and_end_with_an_answer(sample):
    """The chat template has no place for anything else."""
    for messages in sample:
        roles = [m["role"] for m in messages if m["role"] != "system"]
        if roles != ["text"]:
            assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(m["role"] != "system" for m in messages[1:])


def test_answers_are_clean_text(sample):
    """No unfilled field, double space, space before a full stop, or stray blank at an end."""
    for answer in english_answers(sample):
        assert answer == answer.strip() != ""
        assert "  " not in answer
        assert " ." not in answer
        assert " ," not in answer
        if not answer.startswith("{"):
            assert "{" not in answer
            assert "}" not in answer


def test_every_story_names_its_subject_again_and_again(told):
    for subject, story in told:
        text = story.lower()
        assert subject.word.lower() in text, (subject, story)
        assert text.count(subject.name.lower()) >= 2, (subject, story)


def test_every_story_has_a_fair_length(told):
    for _, story in told:
        assert 35 <= len(story.split()) <= 190, story


def test_articles_agree_with_the_next_word(told):
    """'an owl' and 'a fox', also for invented words; 'a unicorn' is right."""
    for _, story in told:
        for article, word in re.findall(r"\b(an?) (\w+)", story, re.IGNORECASE):
            assert words.article(word).split()[0] == article.lower(), (article, word, story)


def test_several_subjects_take_plural_verbs(told):
    for subject, story in told:
        if subject.pronoun == "they":
            assert f"{subject.name} was " not in story.lower(), story
            assert not re.search(r"\bthey was\b", story.lower()), story


def test_sentences_start_with_a_capital(told):
    for _, story in told:
        for start in re.findall(r'(?:^|[.!?] |\n\n)"?(\w)', story):
            assert start.isupper(), story


def test_quotation_marks_are_balanced(told):
    assert all(story.count('"') % 2 == 0 for _, story in told)


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("fox", "a fox"),
        ("owl", "an owl"),
        ("unicorn", "a unicorn"),
        ("honest baker", "an honest baker"),
        ("old robot", "an old robot"),
        ("useful map", "a useful map"),
    ],
)
def test_article(noun, expected):
    assert words.article(noun) == expected


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("fox", "foxes"),
        ("puppy", "puppies"),
        ("donkey", "donkeys"),
        ("mouse", "mice"),
        ("sheep", "sheep"),
        ("polar bear", "polar bears"),
        ("witch", "witches"),
    ],
)
def test_plural(noun, expected):
    assert words.plural(noun) == expected


def test_sums_are_right():
    rng = Random(5)
    for _ in range(500):
        _, sentence, word = facts.item(rng, "sum")
        left, sign, right, total = re.fullmatch(
            r"(\d+) (plus|minus) (\d+) is (\d+)\.", sentence
        ).groups()
        assert int(total) == int(word) == int(left) + int(right) * (1 if sign == "plus" else -1)


def test_capitals_are_asked_and_answered_for_the_same_country():
    rng = Random(5)
    for _ in range(200):
        question, sentence, city = facts.item(rng, "capital")
        country = next(
            name
            for name, capital in facts.CAPITALS.items()
            if sentence == f"The capital of {name} is {capital}."
        )
        assert country in question
        assert facts.CAPITALS[country] == city


def test_extraction_copies_values_and_has_the_asked_keys():
    rng = Random(5)
    for _ in range(1000):
        request, text, answer = extraction.example(rng)
        assert text in request
        assert all(key in request for key in answer)
        assert all(value is None or str(value) in text for value in answer.values())


def test_extraction_answers_parse_as_json():
    rng = Random(6)
    for _ in range(300):
        answer = extraction.conversation(rng)[-1]["content"]
        assert json.dumps(json.loads(answer)) == answer


def test_a_label_is_one_of_the_labels_offered():
    rng = Random(5)
    for _ in range(500):
        text, labels, label, _ = classify.example(rng)
        assert label in labels
        assert len(set(labels)) == len(labels) >= 2
        assert text


def test_a_list_has_the_length_asked_for():
    rng = Random(5)
    for _ in range(500):
        request, answer = (m["content"] for m in lists.conversation(rng, lambda _, text: text))
        asked = re.search(r"\b(two|three|four|five|six|[2-6])\b", request)
        if asked and answer.startswith("1."):
            word = asked[1]
            count = int(word) if word.isdigit() else words.NUMBER_WORDS.index(word)
            assert len(answer.split("\n")) == count, request


def test_refusals_never_pretend():
    rng = Random(5)
    for _ in range(500):
        answer = refusals.conversation(rng, stories.vary)[-1]["content"]
        assert re.search(r"small model|sorry|do not (know|understand)", answer), answer


def test_invented_words_are_pronounceable_and_new():
    rng = Random(5)
    invented = {words.pseudo_word(rng) for _ in range(1000)}
    assert len(invented) > 950
    assert all(re.search("[aeiou]", word) and word.isalpha() for word in invented)
