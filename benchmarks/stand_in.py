"""How well units' labels stand in for masks, on photos that have masks.

    python -m benchmarks.stand_in RUN [--knowledge SPEC] [--learn train] [--test test]

For several numbers of labels a unit: precision and recall of LC(x) by labels against LC(x) by
masks, beside what a constant answer of the same size reaches, and how far CM and SM agree.
"""

from __future__ import annotations

import argparse

from core.explain.photo import measure_stand_in
from core.knowledge.kinds import open_knowledge
from core.paper.tables import all_core_concepts
from core.runs.run_file import Run
from core.runs.store import find_run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--knowledge", default="builtin")
    parser.add_argument("--learn", default="train")
    parser.add_argument("--test", default="test")
    given = parser.parse_args()
    run = Run(find_run(given.run))
    cores = all_core_concepts(run, open_knowledge(given.knowledge))
    for strategy in ("whole_layer", "highest_iou", "minmax_threshold"):
        for per_unit in (1, 2, 3, 5):
            told = measure_stand_in(
                run, cores["scc"], [given.learn], [given.test], per_unit=per_unit, strategy=strategy
            )
            always = told["always"]
            print(
                f"{strategy:17} {per_unit} labels a unit ({told['labels']:4} in all): "
                f"precision {told['precision']:.3f} (constant answer {always['precision']:.3f}), "
                f"recall {told['recall']:.3f} ({always['recall']:.3f}); "
                f"sizes {told['mean_size']['labels']:.1f} and {told['mean_size']['masks']:.1f}; "
                f"CM correlation {told['cm_correlation']:.2f}, same best scene "
                f"{told['cm_best']:.2f}; SM {told['sm_correlation']:.2f}, {told['sm_best']:.2f}"
            )
