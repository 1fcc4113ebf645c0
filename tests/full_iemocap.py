"""A synthetic IEMOCAP of full size, in the corpus's grammar and with its names: 10,039 turns in 151 dialogs.

Its counts are the published ones: turns by session, speaker and kind of dialog, official codes by session, external
votes by label, ticks a vote and a turn, agreement, evaluators, ratings with the missing ones, and what follows for
every label set and policy. Which turn got which votes is made up, and so are durations, words and comments.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from dime_hf.corpora.iemocap import CODES, LABELS

CODE_NAMES = ["ang", "hap", "exc", "sad", "neu", "fru", "fea", "sur", "dis", "oth", "xxx"]
OFFICIAL = {  # turns by code, of each session
    1: (229, 135, 143, 194, 384, 280, 12, 25, 1, 1, 415),
    2: (137, 117, 210, 197, 362, 325, 9, 17, 0, 1, 436),
    3: (240, 135, 151, 305, 320, 382, 2, 28, 1, 0, 572),
    4: (327, 65, 238, 143, 258, 481, 7, 19, 0, 1, 564),
    5: (170, 143, 299, 245, 384, 381, 10, 18, 0, 0, 520),
}
WOMAN_SPEAKS = {1: 873, 2: 859, 3: 1048, 4: 987, 5: 1033}  # turns of a session
IMPROVISED = {1: 837, 2: 957, 3: 1076, 4: 957, 5: 957}  # 4,784 turns in all; by session they are made up

# How the three evaluators of a turn voted, and in how many turns: a solution of the integer programme that asks for
# all counts that the tests check at once.
PATTERNS = """
593 neu neu neu | 1110 neu neu sad | 802 neu hap exc | 770 neu hap ang | 136 neu fru oth | 1 neu fea oth |
223 neu sur oth | 102 neu dis oth | 2 neu oth oth | 194 hap hap hap | 401 hap hap fru | 1 hap exc fru |
31 hap fru dis | 446 exc exc exc | 138 exc exc sad | 192 exc exc fea | 1008 exc sad sad | 75 sad fru fea |
40 sad fea fea | 1103 ang ang fru | 813 ang fru fru | 2 ang dis dis | 670 fru fru fru | 13 neu+hap sur sur |
75 neu+fru sad sad | 90 neu+sur sur sur | 1 neu+oth neu oth | 68 neu+oth hap fru | 4 hap+sur exc sur |
245 exc+fru exc oth | 162 sad+fru fru fru | 219 ang+fru ang fru | 203 ang+fru fru fru | 1 fru+oth hap oth |
30 neu+fru neu+sur fru | 20 exc+fru exc+fru exc | 26 fru+sur fru+sur neu | 22 neu+fru+sur fru sur |
1 hap+exc+sad sad fru | 4 neu+fru neu+fru neu+sur | 1 neu+fru neu+sur hap+exc | 1 neu+sad+ang+fru fru fru
"""
MANY_TICKS = {"E3": 97, "E5": 65, "E6": 86, "E2": 67, "E1": 245, "E4": 712}  # votes with several, scarce ones first
FOUR_TICKS = ("Ses01F_impro01_F010", "E3")  # the one vote with four
USUAL_TRIO = ("E1", "E2", "E4")  # of 7,929 turns
OTHER_TRIOS = (  # evaluators, their dialogs, turns
    (("E2", "E3", "E4"), [f"Ses01F_impro{n:02}" for n in range(1, 5)], 244),
    (("E1", "E3", "E4"), ["Ses01M_impro02", "Ses01M_impro03"], 105),
    (("E1", "E4", "E5"), [f"Ses02F_impro{n:02}" for n in range(1, 9)], 546),
    (
        ("E1", "E2", "E6"),
        [
            f"Ses04{actor}_script0{part}"
            for actor in "FM"
            for part in ("1_1", "1_2", "1_3", "2_1", "2_2", "3_1", "3_2")
        ],
        1146,
    ),
    (("E1", "E2", "E6"), ["Ses05F_impro01"], 69),
    (USUAL_TRIO, ["Ses02M_script02_2"], 104),  # long enough for its turn F046
)

SELF_VOTES, SELF_VOTERS = 2409, ("F1", "M1", "F2", "F3", "M3", "M5")  # in improvised dialogs
BLANK_LABELS = ("Ses01M_impro01_F026", "Ses03M_impro03_M023")  # of self votes

RATERS = (
    (("E1", "E2"), 6600),
    (("E3", "E4"), 1692),
    (("E1", "E2", "E3"), 1279),
    (("E1", "E3"), 376),
    (("E3", "E4", "E5", "E6"), 58),
)
MEAN_RATINGS = (2.7781, 3.0897, 3.1943)  # released: valence, activation, dominance
BEYOND_THE_SCALE = [f"Ses03M_impro07_M{n:03}" for n in (3, 10, 13, 21)]  # released with a valence of 5.5
RATING_MISSING = {  # one of two raters
    *BEYOND_THE_SCALE,
    *(f"Ses03M_impro07_F{n:03}" for n in range(24)),
    *(f"Ses01M_script02_2_F{n:03}" for n in range(4)),
    "Ses01M_impro04_M025",
    "Ses02M_script02_2_F046",
}
DOMINANCE_MISSING = {"Ses01M_script03_1_F026", "Ses04M_script03_2_M009"}

COMMENTS = (
    "annoyed",
    "confused",
    "concerned, warning, excited (minimally)",
    "amused :))",
    "sarcasm",
    "&quot;duh&quot;",
)
BACK_CHANNELS, SPOKEN_ASIDE = 152, ("M: Yeah.", "F:[LAUGHTER]", "F :Here you go.")
NOT_EVALUATED = [  # 48 transcribed turns, two of them under the same name twice
    *(
        f"Ses03{actor}_impro0{n}_{letter}XX{m}"
        for actor in "FM"
        for n in (1, 2, 3)
        for letter in "FM"
        for m in range(3)
    ),
    *(f"Ses05F_impro03_{letter}XX{m}" for letter in "FM" for m in range(4)),
    "Ses05F_impro03_FXX3",
    "Ses05M_impro03_FXX0",
    "Ses05M_impro03_FXX0",
    "Ses03F_impro05_MXX0",
]
LABEL_OF = {code: next(label for label, name in LABELS.items() if name == emotion) for code, emotion in CODES.items()}


@dataclasses.dataclass
class Turn:
    """One turn: what was voted on it, and how it was rated."""

    id: str
    trio: tuple[str, ...]
    code: str = ""
    votes: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # codes by evaluator
    ratings: dict[str, tuple[str, str, str]] = dataclasses.field(
        default_factory=dict
    )  # valence, activation, dominance
    released: tuple[float, ...] = ()

    @property
    def dialog(self) -> str:
        return self.id[:-5]

    @property
    def session(self) -> int:
        return int(self.id[4])

    @property
    def speaker(self) -> str:
        return f"{self.id[-4]}{self.session}"


def write(root: Path, *, recordings: bool = False) -> Path:
    """Write the corpus into a new folder; its recordings, where wanted, are empty files."""
    rng = random.Random(0)
    turns = [turn for session in OFFICIAL for turn in unlabelled(session)]
    for session, counts in OFFICIAL.items():
        give_codes([turn for turn in turns if turn.session == session], counts, rng)
    give_votes(turns, rng)
    give_ratings(turns)
    give_self_votes(turns)
    for number, (dialog, members) in enumerate(itertools.groupby(turns, lambda turn: turn.dialog)):
        write_dialog(root / f"Session{dialog[4]}", dialog, list(members), number, recordings)
    return root


def dialog_names(session: int) -> list[str]:
    """The dialogs of a session, improvised ones first."""
    scenes = {actor: [f"{n:02}" for n in range(1, 8 if session == 1 else 9)] for actor in "FM"}
    if session == 3:
        scenes["M"] = ["01", "02", "03", "04", "05a", "05b", "06", "07", "08a", "08b"]
    parts = {actor: ["01_1", "01_2", "01_3", "02_1", "02_2", "03_1", "03_2"] for actor in "FM"}
    if session == 5:
        parts["M"].append("01_1b")
    improvised = [f"Ses0{session}{actor}_impro{scene}" for actor in "FM" for scene in scenes[actor]]
    return improvised + [f"Ses0{session}{actor}_script{part}" for actor in "FM" for part in parts[actor]]


def unlabelled(session: int) -> Iterator[Turn]:
    """The turns of a session: women's and men's in every dialog in the same proportion."""
    trios = {name: trio for trio, names, _ in OTHER_TRIOS for name in names}
    sizes, total, spoken = dialog_sizes(session), sum(OFFICIAL[session]), 0
    for name, size in sizes.items():
        women = WOMAN_SPEAKS[session] * (spoken + size) // total - WOMAN_SPEAKS[session] * spoken // total
        spoken += size
        for letter, count in (("F", women), ("M", size - women)):
            for number in range(count):
                yield Turn(f"{name}_{letter}{number:03}", trios.get(name, USUAL_TRIO))


def dialog_sizes(session: int) -> dict[str, int]:
    """Turns by dialog: as the trios ask for, and the rest evenly."""
    sizes = {name: size for _, names, turns in OTHER_TRIOS for name, size in evenly(names, turns).items()}
    every = dialog_names(session)
    for kind, turns in (("impro", IMPROVISED[session]), ("script", sum(OFFICIAL[session]) - IMPROVISED[session])):
        names = [name for name in every if kind in name]
        rest = [name for name in names if name not in sizes]
        sizes |= evenly(rest, turns - sum(sizes[name] for name in names if name in sizes))
    return {name: sizes[name] for name in every}


def evenly(names: Sequence[str], turns: int) -> dict[str, int]:
    return {name: turns // len(names) + (n < turns % len(names)) for n, name in enumerate(names)}


def give_codes(turns: list[Turn], counts: Sequence[int], rng: random.Random) -> None:
    """Give the turns of a session their official codes; the one with four ticks is frustrated."""
    codes = [code for code, count in zip(CODE_NAMES, counts, strict=True) for _ in range(count)]
    rng.shuffle(codes)
    if place := next((n for n, turn in enumerate(turns) if turn.id == FOUR_TICKS[0]), None):
        other = codes.index("fru")
        codes[place], codes[other] = codes[other], codes[place]
    for turn, code in zip(turns, codes, strict=True):
        turn.code = code


def patterns() -> Iterator[list[tuple[str, ...]]]:
    """The votes of each turn, those with many ticks first."""
    read = [line.split() for line in PATTERNS.replace("\n", " ").split("|")]
    votes = [(int(count), [tuple(vote.split("+")) for vote in written]) for count, *written in read]
    for count, pattern in sorted(votes, key=lambda item: -sum(len(vote) for vote in item[1])):
        for _ in range(count):
            yield sorted(pattern, key=len, reverse=True)


def official(pattern: Sequence[tuple[str, ...]]) -> str:
    """The corpus's rule: the unique plurality of all ticks."""
    (code, most), *others = collections.Counter(itertools.chain(*pattern)).most_common()
    return "xxx" if any(count == most for _, count in others) else code


def give_votes(turns: Sequence[Turn], rng: random.Random) -> None:
    """Deal the patterns out to turns of their code, so that every evaluator has as many votes with several ticks."""
    free: dict[tuple[str, tuple[str, ...]], list[Turn]] = collections.defaultdict(list)
    for turn in rng.sample(list(turns), len(turns)):
        free[turn.code, turn.trio].append(turn)
    quota = dict(MANY_TICKS)
    for pattern in patterns():
        several = sum(len(vote) > 1 for vote in pattern)
        turn, voters = find_turn(free, official(pattern), several, quota, four=len(pattern[0]) == 4)
        turn.votes = dict(sorted(zip(voters, pattern, strict=True)))
        for voter in voters[:several]:
            quota[voter] -= 1


def find_turn(
    free: dict[tuple[str, tuple[str, ...]], list[Turn]], code: str, several: int, quota: dict[str, int], *, four: bool
) -> tuple[Turn, list[str]]:
    """A free turn of a code, and its evaluators, `several` first who may yet tick several labels."""
    if four:
        members = next(turns for turns in free.values() if any(turn.id == FOUR_TICKS[0] for turn in turns))
        turn = next(turn for turn in members if turn.id == FOUR_TICKS[0])
        members.remove(turn)
        return turn, sorted(turn.trio, key=lambda voter: voter != FOUR_TICKS[1])
    trios = [*(trio for trio, *_ in OTHER_TRIOS), USUAL_TRIO]
    for first in quota:
        for trio in trios:
            willing = [voter for voter in quota if voter in trio and quota[voter] > 0]
            if free[code, trio] and (not several or (first in willing and len(willing) >= several)):
                voters = sorted(trio, key=lambda voter: (voter != first, voter not in willing))
                return free[code, trio].pop(), voters
    raise RuntimeError(f"no turn of code {code} is left")


def give_ratings(turns: Sequence[Turn]) -> None:
    """Ratings whose released means are the corpus's: a missing one counts as 6, or as 0 for dominance."""
    sets = itertools.chain.from_iterable(itertools.repeat(raters, count) for raters, count in RATERS)
    debt = [0.0, 0.0, 0.0]
    for turn in turns:
        if turn.id in RATING_MISSING:
            valence = "5" if turn.id in BEYOND_THE_SCALE else "3"
            turn.ratings = {"E1": (valence, "3", "3"), "E2": ("6", "6", "")}
        else:
            raters = next(sets)
            scales = [near(mean + owed, len(raters)) for mean, owed in zip(MEAN_RATINGS, debt, strict=True)]
            turn.ratings = dict(zip(raters, zip(*scales, strict=True), strict=True))
            if turn.id in DOMINANCE_MISSING:
                valence, activation, _ = turn.ratings[raters[-1]]
                turn.ratings[raters[-1]] = (valence, activation, "")
        values = list(zip(*turn.ratings.values(), strict=True))
        turn.released = tuple(sum(int(value or 0) for value in scale) / len(scale) for scale in values)
        debt = [owed + mean - got for owed, mean, got in zip(debt, MEAN_RATINGS, turn.released, strict=True)]


def near(mean: float, raters: int) -> list[str]:
    """Whole ratings from 1 to 5 whose mean is as near as can be."""
    total = min(5 * raters, max(raters, round(mean * raters)))
    return [str(total // raters + (n < total % raters)) for n in range(raters)]


def give_self_votes(turns: Sequence[Turn]) -> None:
    """Votes of speakers on improvised turns of their own: the first tick of the first evaluator, and "other"."""
    may = [turn for turn in turns if "impro" in turn.id and turn.speaker in SELF_VOTERS]
    for number, turn in enumerate(may):
        if turn.id in BLANK_LABELS:
            turn.votes[turn.speaker] = ("oth", "")
        elif number * SELF_VOTES // len(may) < (number + 1) * SELF_VOTES // len(may):
            turn.votes[turn.speaker] = next(iter(turn.votes.values()))[:1]


def write_dialog(session: Path, dialog: str, turns: Sequence[Turn], number: int, recordings: bool) -> None:
    """Write a dialog's evaluations, transcript and recordings, and what macOS and the corpus have beside them."""
    evaluations, transcripts = session / "dialog/EmoEvaluation", session / "dialog/transcriptions"
    for folder in (evaluations / "Categorical", transcripts):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".DS_Store").write_bytes(b"\0")
    rng = random.Random(number)
    spans, now = {}, 1.0
    for turn in sorted(turns, key=lambda turn: (turn.id[-3:], turn.id)):
        end = now + min(34.14, 0.58 + rng.expovariate(1 / 3.88))
        spans[turn.id], now = (now, end), end + 0.5
    blocks = [block(turn, *spans[turn.id]) for turn in turns]
    header = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
    (evaluations / f"{dialog}.txt").write_text(header + "\n".join(blocks))
    (evaluations / f"._{dialog}.txt").write_bytes(b"\0\5\x16\7\xff")
    (evaluations / f"Categorical/{dialog}_e1_cat.txt").write_text(f"{turns[0].id} :Neutral state; ()\n")
    (transcripts / f"{dialog}.txt").write_text("\n".join(transcript(dialog, spans, number)) + "\n")
    if recordings:
        (session / "sentences/wav" / dialog).mkdir(parents=True)
        for turn in turns:
            (session / "sentences/wav" / dialog / f"{turn.id}.wav").touch()


def block(turn: Turn, start: float, end: float) -> str:
    """A turn's header and its lines."""
    means = ", ".join(f"{mean:.4f}" for mean in turn.released)
    lines = [f"[{start:.4f} - {end:.4f}]\t{turn.id}\t{turn.code}\t[{means}]"]
    for voter, ticks in turn.votes.items():
        labels = " ".join(f"{LABEL_OF[code] if code else ''};" for code in ticks)
        comment = COMMENTS[int(turn.id[-3:]) % len(COMMENTS)] if "oth" in ticks else ""
        lines.append(f"C-{voter}:\t{labels}\t({comment})")
    for rater, (valence, activation, dominance) in turn.ratings.items():
        lines.append(f"A-{rater}:\tval {valence}; act {activation}; dom  {dominance};\t()")
    return "\n".join(lines) + "\n"


def transcript(dialog: str, spans: dict[str, tuple[float, float]], number: int) -> Iterator[str]:
    """Lines in the order of time, an aside after the first, and turns that nobody evaluated at the end."""
    for place, (id, (start, end)) in enumerate(spans.items()):
        yield f"{id} [{start:08.4f}-{end:08.4f}]: Words of {id}."
        if place == 0 or (place == 1 and number < BACK_CHANNELS - 151):
            yield SPOKEN_ASIDE[number % len(SPOKEN_ASIDE)]
    yield from (f"{id} [900.0000-901.0000]: [GARBAGE]" for id in NOT_EVALUATED if id.startswith(f"{dialog}_"))
