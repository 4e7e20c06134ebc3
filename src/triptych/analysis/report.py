"""One page that tells a run: numbers, pictures, config, command, machine. It needs no other file and no network."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from triptych.analysis.recordings import Recording
from triptych.analysis.results import Confused

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --muted: #66666b; --page: #ffffff; --card: #f5f5f7; --rule: #e1e1e6;
  --good: #00734f; --bad: #b34700; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf0; --muted: #a2a2aa; --page: #151517; --card: #222226;
  --rule: #38383e; --good: #4cc9a0; --bad: #ff9a57; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 2.5rem 1.5rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .8rem; }
.under { color: var(--muted); margin: .3rem 0 1.6rem; overflow-wrap: anywhere; }
.status { font-weight: 600; color: var(--bad); } .status.finished { color: var(--good); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: .7rem; }
.tile { background: var(--card); border-radius: 10px; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.35rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile span { color: var(--muted); font-size: .85rem; overflow-wrap: anywhere; }
figure { margin: 0 0 1.6rem; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 10px; padding: 8px;
  border: 1px solid var(--rule); }
figcaption { color: var(--muted); font-size: .9rem; margin: 0 0 .4rem; }
.sounds { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 0 1.4rem; }
.sounds figcaption { overflow-wrap: anywhere; }
audio { width: 100%; height: 2.4rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { text-align: left; padding: .3rem 1.4rem .3rem 0; border-bottom: 1px solid var(--rule); vertical-align: top;
  overflow-wrap: anywhere; }
th { color: var(--muted); font-weight: 500; }
th, td:first-child { overflow-wrap: break-word; }
pre { background: var(--card); border-radius: 10px; padding: 1rem; overflow-x: auto; font-size: .82rem;
  line-height: 1.45; font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre.wrap { white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--muted); }
@media print { details { display: block; } .tile, pre { border: 1px solid var(--rule); } }
"""

# Nothing may be loaded or run, even if a name in the page were to slip through.
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"

Rows = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table of the page: its title, the heads of its columns, and its rows as texts."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def confused_table(pairs: Sequence[Confused], title: str = "Most often confused") -> Table:
    """The pairs of classes confused most often."""
    rows = [(pair.true, pair.predicted, f"{pair.count:,}", f"{pair.share:.1%}") for pair in pairs]
    return Table(title, ("true", "predicted", "times", "of that class"), rows)


def build_report(
    title: str,
    status: str,
    under: str,
    tiles: Rows,
    pictures: Sequence[tuple[str, Path]],
    tables: Sequence[Table],
    config: str,
    command: str,
    facts: Mapping[str, Any],
    first: Sequence[Table] = (),
    recordings: Sequence[Recording] = (),
) -> str:
    """The page as HTML. Every text in it is escaped; pictures and sounds are embedded.

    Args:
        title: name of the run.
        status: `finished`, or how else the run ended.
        under: a line below the title.
        tiles: the numbers that matter, as (name, text).
        pictures: captions and PNG files.
        tables: after the pictures; those without a row are left out.
        config: the resolved config, as YAML.
        command: the command line.
        facts: everything else, nested; becomes a table.
        first: tables before the pictures; those without a row are left out.
        recordings: sounds to be played, after the pictures.

    Raises:
        OSError: a picture cannot be read.
    """
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="under"><span class="status {"finished" if status == "finished" else ""}">{escape(status)}</span>'
        f" &middot; {escape(under)}</p>",
        '<div class="tiles">' + "".join(_tile(name, text) for name, text in tiles) + "</div>",
    ]
    sections += _sections(first)
    if pictures:
        sections += ["<h2>Pictures</h2>", *(_picture(caption, path) for caption, path in pictures)]
    if recordings:
        sections += [
            "<h2>Worst mistakes, to listen to</h2>",
            '<div class="sounds">',
            *map(_player, recordings),
            "</div>",
        ]
    sections += _sections(tables)
    sections += ["<h2>Command</h2>", f'<pre class="wrap">{escape(command)}</pre>']
    sections += ["<h2>Run and machine</h2>", "<table>" + "".join(_fact(*row) for row in _flat(facts)) + "</table>"]
    if config:
        sections += ["<h2>Config</h2>", f"<details><summary>as resolved</summary><pre>{escape(config)}</pre></details>"]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def _tile(name: str, text: str) -> str:
    # A long metric name may break after each part of it.
    spoken = escape(name).replace("_", "_<wbr>").replace("/", "/<wbr>")
    return f'<div class="tile"><b>{escape(text)}</b><span>{spoken}</span></div>'


def _picture(caption: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><img alt="{escape(caption)}" '
        f'src="data:image/png;base64,{data}"></figure>'
    )


def _player(recording: Recording) -> str:
    data = base64.b64encode(recording.flac).decode()
    return (
        f"<figure><figcaption>{escape(recording.caption)}</figcaption>"
        f'<audio controls preload="metadata" src="data:audio/flac;base64,{data}"></audio></figure>'
    )


def _sections(tables: Sequence[Table]) -> list[str]:
    return [f"<h2>{escape(table.title)}</h2>{_table(table)}" for table in tables if table.rows]


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    rows = ("".join(f"<td>{escape(text)}</td>" for text in row) for row in table.rows)
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _fact(name: str, text: str) -> str:
    return f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>"


def _flat(facts: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        spoken = (f"{before} {name}" if before else str(name)).replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, spoken)
        elif value is not None:
            rows.append(
                (
                    spoken,
                    f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value),
                )
            )
    return rows
