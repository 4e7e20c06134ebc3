"""Instruments of General MIDI that are rendered: names in plain words, families, and the pitches one plays on them."""

from collections import defaultdict
from dataclasses import dataclass

FAMILIES = (
    "piano",
    "chromatic percussion",
    "organ",
    "guitar",
    "bass",
    "strings",
    "ensemble",
    "brass",
    "reed",
    "pipe",
    "synth lead",
    "synth pad",
    "synth effects",
    "ethnic",
    "percussive",
)
"""Families of General MIDI, eight programs each, in its order; the sixteenth, sound effects, is left out."""

LEFT_OUT = {
    47: "timpani: drums that General MIDI files under strings",
    99: "atmosphere: has the recordings of the nylon string guitar, of another family",
    110: "fiddle: the soundfont plays its violin, of another family",
    119: "reverse cymbal: has no pitch, and swells for longer than a note here lasts",
    **dict.fromkeys(range(120, 128), "sound effects: have no pitch"),
}
"""Programs that are not rendered, and why."""

WITHOUT_NOTE = frozenset({113, 115, 116, 117, 118})
"""Agogo, woodblock and drums: a higher key sounds higher, and what is heard is not the key's note."""


@dataclass(frozen=True)
class Instrument:
    """One program of General MIDI.

    Attributes:
        program: from 0.
        name: General MIDI's, in plain words.
        spoken: the name as it stands in a sentence, with its article.
        manner: how the sound is made, as a word before `note`.
        lowest: MIDI pitch of the lowest note that is usual on it.
        highest: of the highest.
    """

    program: int
    name: str
    spoken: str
    manner: str
    lowest: int
    highest: int

    @property
    def family(self) -> str:
        """Which of FAMILIES it is of."""
        return FAMILIES[self.program // 8]


# program, name, article (- for none), manner, lowest, highest. Sounding pitches, middle C = 60 = C4. Acoustic
# instruments: what players reach without effort; synthetic sounds and organs: where they are commonly played.
_TABLE = """
0|acoustic grand piano|an|hammered|24|103
1|bright acoustic piano|a|hammered|24|103
2|electric grand piano|an|hammered|28|100
3|honky-tonk piano|a|hammered|28|100
4|electric piano 1|an|hammered|28|96
5|electric piano 2|an|hammered|28|96
6|harpsichord|a|plucked|29|89
7|clavinet|a|struck|29|89
8|celesta|a|struck|60|108
9|glockenspiel|a|struck|79|108
10|music box|a|plucked|60|96
11|vibraphone|a|struck|53|89
12|marimba|a|struck|45|96
13|xylophone|a|struck|65|108
14|tubular bells|-|struck|60|77
15|dulcimer|a|struck|50|86
16|drawbar organ|a|sustained|36|96
17|percussive organ|a|sustained|36|96
18|rock organ|a|sustained|36|96
19|church organ|a|blown|31|91
20|reed organ|a|blown|36|96
21|accordion|an|blown|53|89
22|harmonica|a|blown|60|96
23|tango accordion|a|blown|48|88
24|nylon string guitar|a|plucked|40|83
25|steel string guitar|a|plucked|40|83
26|jazz guitar|a|plucked|40|84
27|clean electric guitar|a|plucked|40|84
28|muted electric guitar|a|plucked|40|79
29|overdriven guitar|an|plucked|40|84
30|distorted guitar|a|plucked|40|84
31|guitar harmonics|-|plucked|52|84
32|acoustic bass|an|plucked|28|60
33|fingered electric bass|a|plucked|28|62
34|picked electric bass|a|plucked|28|62
35|fretless bass|a|plucked|28|62
36|slap bass 1|a|slapped|28|62
37|slap bass 2|a|slapped|28|62
38|synth bass 1|a|synthetic|28|60
39|synth bass 2|a|synthetic|28|60
40|violin|a|bowed|55|96
41|viola|a|bowed|48|86
42|cello|a|bowed|36|76
43|contrabass|a|bowed|28|57
44|tremolo strings|-|bowed|36|91
45|pizzicato strings|-|plucked|36|91
46|orchestral harp|an|plucked|29|98
48|string ensemble 1|a|bowed|36|94
49|string ensemble 2|a|bowed|36|94
50|synth strings 1|-|synthetic|36|94
51|synth strings 2|-|synthetic|36|94
52|choir aahs|-|sung|43|79
53|voice oohs|-|sung|43|79
54|synth voice|a|sung|43|84
55|orchestra hit|an|struck|43|79
56|trumpet|a|blown|55|84
57|trombone|a|blown|40|72
58|tuba|a|blown|29|58
59|muted trumpet|a|blown|55|82
60|French horn|a|blown|41|77
61|brass section|a|blown|40|82
62|synth brass 1|-|synthetic|36|86
63|synth brass 2|-|synthetic|36|86
64|soprano saxophone|a|blown|56|88
65|alto saxophone|an|blown|49|81
66|tenor saxophone|a|blown|44|76
67|baritone saxophone|a|blown|36|69
68|oboe|an|blown|58|89
69|English horn|an|blown|52|81
70|bassoon|a|blown|34|72
71|clarinet|a|blown|50|89
72|piccolo|a|blown|74|105
73|flute|a|blown|60|93
74|recorder|a|blown|60|91
75|pan flute|a|blown|60|91
76|blown bottle|a|blown|55|84
77|shakuhachi|a|blown|55|86
78|whistle|a|blown|67|98
79|ocarina|an|blown|60|84
80|square lead|a|synthetic|36|96
81|sawtooth lead|a|synthetic|36|96
82|calliope lead|a|synthetic|48|96
83|chiff lead|a|synthetic|48|96
84|charang lead|a|synthetic|36|91
85|voice lead|a|synthetic|43|91
86|fifths lead|a|synthetic|36|91
87|bass and lead|a|synthetic|28|84
88|new age pad|a|synthetic|36|91
89|warm pad|a|synthetic|36|91
90|polysynth pad|a|synthetic|36|91
91|choir pad|a|synthetic|36|91
92|bowed glass pad|a|synthetic|36|91
93|metallic pad|a|synthetic|36|91
94|halo pad|a|synthetic|36|91
95|sweep pad|a|synthetic|36|91
96|rain effect|a|synthetic|36|91
97|soundtrack effect|a|synthetic|36|91
98|crystal effect|a|synthetic|48|96
100|brightness effect|a|synthetic|36|91
101|goblins effect|a|synthetic|36|91
102|echoes effect|an|synthetic|36|91
103|sci-fi effect|a|synthetic|36|91
104|sitar|a|plucked|48|77
105|banjo|a|plucked|48|84
106|shamisen|a|plucked|50|79
107|koto|a|plucked|43|84
108|kalimba|a|plucked|48|84
109|bagpipe|a|blown|57|81
111|shanai|a|blown|58|84
112|tinkle bell|a|struck|72|96
113|agogo|an|struck|60|84
114|steel drums|-|struck|52|84
115|woodblock|a|struck|55|84
116|taiko drum|a|struck|36|64
117|melodic tom|a|struck|36|72
118|synth drum|a|struck|36|72
"""


def _parsed(line: str) -> Instrument:
    program, name, article, manner, lowest, highest = line.split("|")
    spoken = name if article == "-" else f"{article} {name}"
    return Instrument(int(program), name, spoken, manner, int(lowest), int(highest))


INSTRUMENTS = tuple(_parsed(line) for line in _TABLE.strip().splitlines())
"""All that are rendered, by program."""


def by_family() -> dict[str, list[Instrument]]:
    """The instruments of each of FAMILIES."""
    found: dict[str, list[Instrument]] = defaultdict(list)
    for instrument in INSTRUMENTS:
        found[instrument.family].append(instrument)
    return dict(found)
