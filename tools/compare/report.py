"""What the rounds come to: medians and ratios, as a dictionary and as a table."""
import statistics

OURS = "dreamlab"
TITLES = {"diffusers": "diffusers", "diffusers_compiled": "compiled", OURS: "Dream Lab"}
LABELS = {"png": "  of it PNG"}  # the part of `image` that only diffusers' side times by itself
MEMORY_NOTES = {
    "reserved": "reserved by PyTorch",
    "allocated": "allocated",
    "held": "held",
    "device": "of the GPU as seen from outside, CUDA context included",
    "resident": "resident",
}


def round_medians(rounds, stage):
    """One ms value for each round; none where the program does not time that stage."""
    return [statistics.median(r["times_ms"][stage]) for r in rounds if stage in r["times_ms"]]


def summarize_column(rounds):
    """Medians over the rounds' medians, and the largest memory of any round."""
    times, memory = rounds[0]["times_ms"], rounds[0]["memory_mib"]
    return {
        "median_ms": {stage: statistics.median(round_medians(rounds, stage)) for stage in times},
        "peak_memory_mib": {kind: max(r["memory_mib"][kind] for r in rounds) for kind in memory},
        "rounds": rounds,
    }


def stage_ratio(theirs, ours, stage):
    """Their time over ours: of the medians, and the smallest and largest of one round."""
    pairs = list(zip(round_medians(theirs, stage), round_medians(ours, stage)))
    by_round = [a / b for a, b in pairs]
    medians = [statistics.median(column) for column in zip(*pairs)]
    return {"ratio": medians[0] / medians[1], "smallest": min(by_round), "largest": max(by_round)}


def summarize(settings, machine, rounds):
    """rounds: {column: [round, ...]}, one of them OURS. Everything that was measured, ready for JSON."""
    ours = rounds[OURS]
    return {
        "settings": settings,
        "machine": machine,
        "columns": {name: summarize_column(column) for name, column in rounds.items()},
        "ratios": {
            name: {stage: stage_ratio(column, ours, stage) for stage in ours[0]["times_ms"]}
            for name, column in rounds.items()
            if name != OURS
        },
    }


def milliseconds(column, stage):
    value = column["median_ms"].get(stage)
    return "" if value is None else f"{value:.2f}"


def ratio(ratios, stage):
    value = ratios.get(stage)
    return "" if value is None else "{ratio:.2f} ({smallest:.2f} to {largest:.2f})".format(**value)


def table_rows(summary):
    columns, ratios = summary["columns"], summary["ratios"]
    yield ["stage", *(f"{TITLES[n]}, ms" for n in columns), *(f"{TITLES[n]} / {TITLES[OURS]}" for n in ratios)]
    for stage in columns["diffusers"]["median_ms"]:
        yield [
            LABELS.get(stage, stage),
            *(milliseconds(column, stage) for column in columns.values()),
            *(ratio(column, stage) for column in ratios.values()),
        ]


def aligned(rows):
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:]))]
        yield "   ".join(cells).rstrip()


def memory_line(name, column):
    peaks = ", ".join(f"{mib:.0f} MiB {MEMORY_NOTES[kind]}" for kind, mib in column["peak_memory_mib"].items())
    return f"peak memory, {TITLES[name]}: {peaks}"


def to_text(summary):
    """The table for a person."""
    asked, machine, columns = summary["settings"], summary["machine"], summary["columns"]
    lines = [
        f"{machine['device']}; {asked['family']}, random weights, {asked['width']}x{asked['height']},"
        f" batch {asked['batch']}, {asked['steps']} steps, guidance {asked['guidance']}, {asked['dtype']}",
        "; ".join(f"{name} {version}" for name, version in machine["versions"].items())
        + f"; {machine['attention']}; {machine['choices']}",
        f"medians of {len(columns[OURS]['rounds'])} rounds; in brackets the smallest and largest ratio of a round",
        "",
        *aligned(list(table_rows(summary))),
        "",
        *(memory_line(name, column) for name, column in columns.items()),
    ]
    if "compile_s" in machine:
        lines.append(f"first run of the compiled networks: {machine['compile_s']:.0f} s")
    return "\n".join(lines)
