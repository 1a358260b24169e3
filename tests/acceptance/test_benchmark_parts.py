"""Parts of the benchmarks, once on a handful of changesets: there are figures where the results are proved.

No figure is asserted: times are the machine's.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import landing
from benchmarks.landing import Phase
from benchmarks.workload import Workload

SMALL = Workload(files=200, width=10, fan=5, slice_leaves=5)


def quiet(_: str) -> None:
    pass


def test_landing_has_figures_of_each_phase_and_of_the_yardstick(tmp_path: Path):
    phases = [
        Phase("bulk", 2, 10, 20, goal=(2.0, 1.6)),
        Phase("alone", 1, 1, 3, until_landed=True),
        Phase("many", 50, 1, 100, half_load=True),
    ]
    figures = landing.run(SMALL, tmp_path, quiet, phases=phases, rounds=2, imported=20, s3="seaweedfs")
    assert [figure.name for figure in figures] == [
        "git fast-import, in turns",
        "bulk",
        "alone",
        "many",
        "many, half load",
        "bulk, to fast-import",
        "alone, to fast-import",
        "alone, in PUTs",
        "alone, PUTs",
        "many, to fast-import",
        "many, half load, p99",
    ]
    assert {len(figure.rounds) for figure in figures} == {2}
    by_name = {figure.name: figure for figure in figures}
    assert by_name["many"].details["landed"] == 200
    assert by_name["many"].details["waited"] == 0
    assert by_name["alone"].details["latency_sample"] == 6
    # A submission and an entry are the least.
    assert by_name["alone, PUTs"].value >= 2
