"""Metrics of written texts: BLEU and chrF as sacrebleu counts them, ROUGE-L as rouge-score does.

Each is a reduction over statistics of single texts: n-grams that match, n-grams that there are, lengths. sacrebleu
keeps those of chrF to itself, so they are counted here; tests compare every score with both libraries'.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import torch

from luthier.studies.wire import Metrics

BLEU, CHRF, ROUGE = "bleu", "chrf", "rouge_l"
"""Names of metrics, and of the statistics that they are made of."""
BLEU_ORDER, CHRF_ORDER = 4, 6
"""The longest n-grams: of words (Papineni et al. 2002), and of characters (Popović 2015)."""
BETA = 2.0
"""How many times more chrF weighs recall than precision."""
_LOG_OF_ZERO = -9999999999.0
_SPLITS = (  # mteval-v13a, whose name in sacrebleu is 13a
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_NO_ROUGE = re.compile(r"[^a-z0-9]+")


def text_statistics(said: Sequence[str | None], wanted: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the statistics of written texts: name -> (texts, ...); all 0 where none was written.

    Args:
        said: Written texts.
        wanted: The right ones.
    """
    pairs = list(zip(said, wanted, strict=True))
    nothing = [0] * (2 * BLEU_ORDER + 2), [0] * (3 * CHRF_ORDER), 0.0
    found = [
        nothing if text is None else (bleu_counts(text, right), chrf_counts(text, right), rouge_l(text, right))
        for text, right in pairs
    ]
    columns = zip((BLEU, CHRF, ROUGE), zip(*found, strict=True), strict=True)
    return {name: torch.tensor(values, dtype=torch.double) for name, values in columns}


def text_scores(statistics: dict[str, torch.Tensor]) -> Metrics:
    """Return BLEU and chrF, 0 to 100, and the mean ROUGE-L, 0 to 1, of texts that were written."""
    return {
        BLEU: bleu(statistics[BLEU].sum(0).tolist()),
        CHRF: chrf(statistics[CHRF].sum(0).tolist()),
        ROUGE: float(statistics[ROUGE].mean()),
    }


def bleu_counts(said: str, wanted: str) -> list[int]:
    """Return n-grams of 1 to 4 words that match, those that were written, and the words written and wanted."""
    words, right = _words_13a(said), _words_13a(wanted)
    matches, totals = [], []
    for order in range(1, BLEU_ORDER + 1):
        own, other = (Counter(zip(*(text[i:] for i in range(order)), strict=False)) for text in (words, right))
        matches.append((own & other).total())
        totals.append(own.total())
    return [*matches, *totals, len(words), len(right)]


def bleu(counts: Sequence[float]) -> float:
    """Return BLEU, 0 to 100, from the sums of `bleu_counts`; orders without a match are smoothed (method exp)."""
    matches, totals = counts[:BLEU_ORDER], counts[BLEU_ORDER : 2 * BLEU_ORDER]
    written, wanted = counts[-2:]
    if not any(matches):
        return 0.0
    precisions = [0.0] * BLEU_ORDER
    smoothing = 1.0
    for order, (match, total) in enumerate(zip(matches, totals, strict=True)):
        if total == 0:
            break
        smoothing *= 1.0 if match else 2.0
        precisions[order] = 100.0 * match / total if match else 100.0 / (smoothing * total)
    penalty = 1.0 if written >= wanted else math.exp(1 - wanted / written)
    logs = [math.log(precision) if precision else _LOG_OF_ZERO for precision in precisions]
    return penalty * math.exp(sum(logs) / BLEU_ORDER)


def chrf_counts(said: str, wanted: str) -> list[int]:
    """Return for n-grams of 1 to 6 characters, white space left out, how many are written, wanted, and match."""
    own, other = ("".join(text.split()) for text in (said, wanted))
    counts = []
    for order in range(1, CHRF_ORDER + 1):
        first, second = (Counter(text[i : i + order] for i in range(len(text) - order + 1)) for text in (own, other))
        counts += [first.total() if second else 0, second.total(), (first & second).total()]
    return counts


def chrf(counts: Sequence[float]) -> float:
    """Return chrF, 0 to 100, from the sums of `chrf_counts`: of the orders that both texts have."""
    orders = [counts[i : i + 3] for i in range(0, len(counts), 3)]
    parts = [(match / written, match / wanted) for written, wanted, match in orders if written and wanted]
    if not parts:
        return 0.0
    precision = sum(part[0] for part in parts) / len(parts)
    recall = sum(part[1] for part in parts) / len(parts)
    if precision + recall == 0:
        return 0.0
    return 100 * (1 + BETA * BETA) * precision * recall / (BETA * BETA * precision + recall)


def rouge_l(said: str, wanted: str) -> float:
    """Return the F1 of ROUGE-L, 0 to 1: over the longest common subsequence of words of a to z and digits."""
    own, right = ([word for word in _NO_ROUGE.sub(" ", text.lower()).split() if word] for text in (said, wanted))
    if not own or not right:
        return 0.0
    common = _common_length(own, right)
    precision, recall = common / len(own), common / len(right)
    return 2 * precision * recall / (precision + recall) if common else 0.0


def _common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, by bits (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    whole = rest = (1 << len(first)) - 1
    for word in second:
        match = rest & places.get(word, 0)
        rest = (rest + match | rest - match) & whole
    return len(first) - rest.bit_count()


def _words_13a(text: str) -> list[str]:
    """Return the words of a text as mteval-v13a tells them."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, letter in _ENTITIES:
        text = text.replace(entity, letter)
    text = f" {text} "
    for pattern, replacement in _SPLITS:
        text = pattern.sub(replacement, text)
    return text.split()
