"""Whole-term masking: a lexicon term is masked as one, so it must be guessed from its context."""

from collections.abc import Sequence

import numpy

from spacy_tcm.lexicon import Lexicon

# Of the chosen tokens (Devlin et al. 2019): shown as [MASK], shown as any other token, left as is.
SHOWN_AS = (0.8, 0.1, 0.1)


def mask_units(text: str, offsets: Sequence[tuple[int, int]], lexicon: Lexicon | None) -> list[int]:
    """For each subword the number of its unit: of the lexicon term, or of the word it is part of.

    offsets: (start, end) in characters of each subword; (0, 0) for special tokens, which get -1.
    """
    words = lexicon.words(text) if lexicon is not None else []
    term = {at: number for number, (start, end) in enumerate(words) for at in range(start, end)}
    units: list[int] = []
    unit, last, last_term = -1, -1, None
    for start, end in offsets:
        if start == end:
            units.append(-1)
            continue
        inside = term.get(start)
        # Subwords of Latin letters, digits and signs that touch are pieces of one word.
        piece = start == last and text[start].isascii() and text[start - 1 : start].isascii()
        if not ((inside is not None and inside == last_term) or (inside is None and piece)):
            unit += 1
        units.append(unit)
        last, last_term = end, inside
    return units


def choose_masked(units: Sequence[int], share: float, rng: numpy.random.Generator) -> numpy.ndarray:
    """(subwords,) bool: whole units, in random order, until about ``share`` of the subwords."""
    numbers = numpy.asarray(units)
    sizes = numpy.bincount(numbers[numbers >= 0]) if (numbers >= 0).any() else numpy.zeros(0, int)
    budget = max(1, round(share * sizes.sum()))
    chosen = numpy.zeros(len(sizes) + 1, dtype=bool)  # the last is for unit -1
    taken = 0
    for unit in rng.permutation(len(sizes)):
        if taken and taken + sizes[unit] > budget:
            continue
        chosen[unit] = True
        taken += int(sizes[unit])
        if taken >= budget:
            break
    return chosen[numbers]


def hide(
    ids: numpy.ndarray,
    chosen: numpy.ndarray,
    mask_id: int,
    replacements: Sequence[int],
    rng: numpy.random.Generator,
) -> numpy.ndarray:
    """The ids with those chosen hidden, see `SHOWN_AS`. replacements: ids of ordinary subwords."""
    shown = ids.copy()
    kind = rng.choice(3, size=ids.shape, p=SHOWN_AS)
    shown[chosen & (kind == 0)] = mask_id
    other = chosen & (kind == 1)
    shown[other] = rng.choice(numpy.asarray(replacements), size=int(other.sum()))
    return shown
