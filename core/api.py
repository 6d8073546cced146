"""What ``import core`` gives: runs as objects whose answers are pandas or Arrow frames.

Thin on purpose: each method calls the function that the command line and the app call, with the
same defaults, so that the figures are the same. Every method that gives a frame takes
``arrow=True`` for a :class:`pyarrow.Table` instead.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from core.dissect.labels import BetterThanChance
from core.dissect.labels import better_than_chance as chance_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.plain import Json
from core.foundation.progress import Report
from core.foundation.settings import CHOOSING, Settings, chosen_on, judged_on
from core.foundation.vocabulary import Core
from core.knowledge.kinds import open_knowledge
from core.runs import run_file, store
from core.views import images as image_views
from core.views import runs as run_views
from core.views.images import Filter, fitting
from core.views.runs import cache_root

if TYPE_CHECKING:  # PyTorch comes with some of these; only what runs the network needs it
    import pyarrow as pa
    from PIL import Image

    from core.ablation.contribution import Contribution
    from core.ablation.result import Toggled
    from core.ablation.toggler import Toggler
    from core.attribution.account import Causes, Question
    from core.attribution.case import Opened
    from core.attribution.judged import Truth
    from core.attribution.measured import Measured
    from core.attribution.mistakes import Mistakes
    from core.attribution.reliance import Reliance
    from core.directions.ace import Ace
    from core.directions.cav import Tcav
    from core.directions.conceptshap import ConceptShap
    from core.explain.account import Account
    from core.foundation.engine import Crew
    from core.graphs.judge import Judged as GraphsJudged
    from core.knowledge.core_concepts import CoreConcepts
    from core.labelling.judged import Bench
    from core.models.dictionary import Dictionary
    from core.paper.rivals import Rival
    from core.paper.tables import Table


def open_run(name: str | Path = "latest", root: str | Path | None = None) -> Run:
    """A finished run, by its digest, the beginning of one, ``latest``, or the path of its file.

    root : folder of the runs; where None, the environment's UNITSCOPE_CACHE or the checkout's
        cache/.

    Raises UnitscopeError where there is none of that name; it tells those that exist.
    """
    return Run(store.find_run(str(name), _root(root)))


def list_runs(root: str | Path | None = None, arrow: bool = False) -> pd.DataFrame | pa.Table:
    """Finished runs, newest first: run, dataset, model, layers, images, accuracy, finished.

    Files that cannot be read are left out.
    """
    rows = []
    for path in store.list_runs(_root(root)):
        try:
            run = run_file.Run(path)
        except UnitscopeError:
            continue
        facts = run_views.summary(run)
        run.close()
        rows.append(
            {
                **{key: getattr(facts, key) for key in ("run", "dataset", "model")},
                "layers": ", ".join(layer.name for layer in facts.layers),
                **{key: getattr(facts, key) for key in ("images", "accuracy", "finished")},
            }
        )
    columns = ["run", "dataset", "model", "layers", "images", "accuracy", "finished"]
    return _given(pd.DataFrame(rows, columns=columns), arrow)


def make_run(
    dataset: str,
    model: str,
    layers: Sequence[str] | str = (),
    *,
    root: str | Path | None = None,
    progress: Report | None = None,
    fresh: bool = False,
    strict: bool = False,
    allow_loss: bool = False,
    threads: int | None = None,
    **settings: Any,
) -> Run:
    """Dissect a network on a dataset, or open the run where it has been made before.

    Parameters
    ----------
    dataset, model : SPECs, as on the command line.
    layers : dotted names; the network's usual layer where none is given.
    root : as in :func:`open_run`.
    progress : called with the progress, ``print`` for instance.
    fresh, strict, threads : of :func:`core.run.execute`.
    allow_loss : go on where more than a fifth of the photos cannot be used.
    settings : any of :class:`core.foundation.settings.Settings`: q, splits, grid, shuffles, seed, …

    A run that was interrupted is resumed by the same call. Raises UnitscopeError
    before anything is written where something is wrong with what was asked for.
    """
    from core.dissect.pipeline import execute
    from core.dissect.plan import plan

    names = [layers] if isinstance(layers, str) else layers
    known = set(Settings.__dataclass_fields__) - {"dataset", "model", "layers"}
    for name in settings:
        if name not in known:
            raise unknown("setting of a run", name, sorted(known))
    splits = settings.pop("splits", ())
    asked = Settings(
        dataset,
        model,
        tuple(names),
        (splits,) if isinstance(splits, str) else tuple(splits),
        **settings,
    )
    made = execute(
        replace(plan(asked), allow_loss=allow_loss),
        _root(root),
        progress=progress,
        fresh=fresh,
        strict=strict,
        threads=threads,
    )
    made.close()
    return Run(made.path)


class Run(run_file.Run):
    """A finished run, read-only. Any number of programs may hold one at once.

    In addition to these methods, it has those of :class:`core.runs.run_file.Run`: ``info``
    (settings, accuracy, versions), ``layer_names``, ``sql(query)`` over the tables of
    docs/run-file.md, ``array("logits")``, ``photo(image)``; and every function of `core` that takes
    a run takes it.
    """

    _togglers: dict[str, Toggler]

    def __repr__(self) -> str:
        return f"<run {self.digest}: {self.summary()['model']} on {self.dataset}>"

    # -- what it holds --------------------------------------------------------------------

    def summary(self) -> Json:
        """What the run is: names, definitions, layers, images, accuracy, date."""
        return asdict(run_views.summary(self))

    def units(
        self,
        layer: str | None = None,
        denominator: str = "all",
        categories: Sequence[str] | None = None,
        per_unit: int = 1,
        splits: Sequence[str] | None = None,
        arrow: bool = False,
    ) -> pd.DataFrame | pa.Table:
        """The concepts each unit detects best: :func:`core.dissect.labels.unit_labels`.

        Columns unit, rank, concept, name, category, iou, overlap, hits, area, threshold, images,
        chance (p-value), adjusted (for the false discovery rate). As ``python -m core show``.
        """
        from core.dissect.labels import unit_labels

        return _given(unit_labels(self, layer, denominator, categories, per_unit, splits), arrow)

    def labels(
        self,
        method: str = "dataset",
        layer: str | None = None,
        categories: Sequence[str] | None = None,
        arrow: bool = False,
    ) -> pd.DataFrame | pa.Table:
        """The label of each unit by a labelling method: ``dataset``, ``annotated``, ``formula``,
        or one that was added (docs/extending.md). Columns unit, label, score, and the method's own.

        As ``python -m core show --labels METHOD``.
        """
        from core.labelling.methods import labels

        return _given(labels(self, method, layer, categories), arrow)

    def bench(
        self,
        methods: Sequence[str] = (),
        layer: str | None = None,
        learn_on: Sequence[str] | None = None,
        split: Sequence[str] | None = None,
        by: str | None = None,
        photos: int = 150,
        seed: int = 0,
        progress: Report | None = None,
        **given: Any,
    ) -> Bench:
        """Labelling methods (all where none is named) scored on photos that their labels were not
        learned from: :func:`core.labelling.bench.compare_on`.

        by : how concepts are taken out of photos for the causal score; ``"none"`` leaves it out.
        given : options of methods: ``encoder``, ``words``, ``table``. The answer has the frames
        `.table` (methods) and `.units`, `.unit(12)` and `.find("bed")`. As
        ``python -m core labels``; kept beside the run, and shown by the app.
        """
        from core.labelling.bench import Asked, compare_on

        asked = Asked(layer, methods, learn_on, split, None, by, photos, given, seed)
        return compare_on(self, asked, progress)

    # -- concepts as directions and graphs --------------------------------------------------

    def conceptshap(
        self,
        concepts: int = 8,
        layer: str | None = None,
        seed: int = 0,
        progress: Report | None = None,
        **asked: Any,
    ) -> ConceptShap:
        """Concept vectors, how complete they are and each one's share:
        :func:`core.directions.conceptshap.concept_shap`; `.frame(scene)` has a row a vector.

        asked : other fields of its ``Asked`` (learn, judge, categories, samples, exact). As
        ``python -m core conceptshap``.
        """
        from core.attribution.case import Opened
        from core.directions.conceptshap import Asked, concept_shap
        from core.directions.vectors import Learning

        wanted = Asked(layer, Learning(concepts, seed=seed), **asked)
        return concept_shap(Opened.of(self, layer), wanted, progress)

    def tcav(
        self,
        concept: str,
        scenes: Sequence[str] = (),
        layer: str | None = None,
        progress: Report | None = None,
        **asked: Any,
    ) -> Tcav:
        """Does a scene rest on an annotated concept? :func:`core.directions.cav.tcav`; `.frame()`
        has a row a scene. asked : fields of its ``Asked``. As ``python -m core tcav``."""
        from core.attribution.case import Opened
        from core.directions.cav import Asked, tcav

        return tcav(Opened.of(self, layer), concept, scenes, Asked(**asked), progress)

    def ace(
        self, scene: str, layer: str | None = None, progress: Report | None = None, **asked: Any
    ) -> Ace:
        """What a scene is made of, by segments of its photos: :func:`core.directions.ace.ace`;
        `.frame()` has a row a concept. asked : fields of its ``Asked``. As
        ``python -m core ace``; needs scikit-image."""
        from core.attribution.case import Opened
        from core.directions.ace import Asked, ace

        return ace(Opened.of(self, layer), scene, Asked(**asked), progress)

    def vrx(
        self,
        split: str | None = None,
        layer: str | None = None,
        progress: Report | None = None,
        **asked: Any,
    ) -> GraphsJudged:
        """Structural concept graphs, learned and held against controls:
        :func:`core.graphs.judge.judge`; `.rows` says how each variant fares. asked : fields of
        :class:`core.graphs.distil.Asked`. As ``python -m core vrx``."""
        from core.attribution.case import Opened
        from core.graphs.distil import Asked
        from core.graphs.judge import judge
        from core.graphs.masked import lessons

        wanted = Asked(layer, **asked).of(self)
        return judge(
            self,
            wanted,
            split,
            progress,
            masked=lambda graphs: lessons(Opened.of(self, layer), wanted, graphs),
        )

    def dictionary(
        self,
        features: int = 1024,
        k: int = 16,
        layer: str | None = None,
        learn_on: Sequence[str] | None = None,
        split: Sequence[str] | None = None,
        progress: Report | None = None,
        **recipe: Any,
    ) -> Dictionary:
        """A sparse dictionary of a layer, trained and measured:
        :func:`core.dictionary.make.make_dictionary`. recipe : other fields of
        :class:`core.dictionary.train.Recipe` (steps, batch, rate, seed). As
        ``python -m core dictionary train``; :func:`core.models.dictionary.write_dictionary` writes
        the file that ``dictionary:FILE@SPEC`` opens."""
        from core.dictionary.make import make_dictionary
        from core.dictionary.train import Recipe

        wanted = Recipe(features, k, **recipe)
        return make_dictionary(self, layer, wanted, learn_on, split, progress=progress)

    def better_than_chance(
        self, layer: str | None = None, denominator: str = "all"
    ) -> BetterThanChance:
        """How many units are better than chance, how many were with exchanged masks, and in the
        untrained twin: :func:`core.dissect.labels.better_than_chance`."""
        return chance_of(self, layer, denominator)

    def scenes(self, arrow: bool = False) -> pd.DataFrame | pa.Table:
        """Scenes that occur: scene, images, scored, right, accuracy."""
        return _given(image_views.scenes(self), arrow)

    def concepts(self, arrow: bool = False) -> pd.DataFrame | pa.Table:
        """Concepts that occur: concept, label, shown, name, category, whole, images, area."""
        return _given(image_views.concepts(self), arrow)

    def images(
        self,
        scene: str = "",
        predicted: str = "",
        outcome: str = "",
        split: str = "",
        concept: str = "",
        arrow: bool = False,
    ) -> pd.DataFrame | pa.Table:
        """Images that fit: image, id, split, scene_name, predicted_name, confidence, correct.

        outcome : ``right``, ``wrong`` or ``unscored``. An empty word leaves a question open.
        """
        choice = Filter(scene, predicted, outcome, split, concept)
        where, values = fitting(self, choice)
        query = (
            "SELECT image, id, split, scene_name, predicted_name, confidence, correct "
            f"FROM ({where}) ORDER BY image"
        )
        return _given(self.sql(query, values), arrow)

    def accuracy(self, arrow: bool = False) -> pd.DataFrame | pa.Table:
        """By split: split, images (scored), right, accuracy, low, high (95 % interval)."""
        return _given(run_views.accuracy(self), arrow)

    def confusion(self, split: str = "", arrow: bool = False) -> pd.DataFrame | pa.Table:
        """How often each scene is predicted as which: scene, predicted, images, share."""
        return _given(image_views.confusion(self, split), arrow)

    def skipped(self, arrow: bool = False) -> pd.DataFrame | pa.Table:
        """Files left out: id, file, reason."""
        return _given(run_views.skipped(self), arrow)

    def arrow(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Rows of an SQL query (docs/run-file.md) as an Arrow table, without a detour."""
        return self._con.cursor().sql(query, params=list(parameters)).to_arrow_table()

    # -- explanations ---------------------------------------------------------------------

    def core_concepts(
        self,
        cc: str = "scc",
        knowledge: str | None = None,
        overrides: str | Path | None = None,
        splits: Sequence[str] | None = None,
    ) -> CoreConcepts:
        """What the scenes are made of, by ``scc``, ``icc`` or ``top10``; `.table(scene)` is a
        frame of one scene's concepts with the facts behind them.

        knowledge : SPEC of the graph; the run's own where None. overrides : names and nodes.
        """
        from core.paper.tables import all_core_concepts

        Core.of(cc)
        graph = open_knowledge(knowledge or self.own_knowledge)
        return all_core_concepts(self, graph, _path(overrides), splits, [cc])[cc]

    def account(
        self,
        image: str,
        cc: str = "scc",
        layer: str | None = None,
        strategy: str = "minmax_threshold",
        iou: str = "image",
        knowledge: str | None = None,
        overrides: str | Path | None = None,
    ) -> Account:
        """The paper's account of an image, by its id: :func:`core.explain.account.account`.
        As ``python -m core explain --image``, which has what *caused* the answer beside it
        (:meth:`causes`)."""
        from core.explain.account import account

        return account(
            self, self.core_concepts(cc, knowledge, overrides), image, layer, strategy, iou
        )

    def opened(self, layer: str | None = None) -> Opened:
        """The run with its network open, for :mod:`core.attribution`; opened once for each layer.

        Raises UnitscopeError where the network is no longer the one the run was made with.
        """
        from core.attribution.case import Opened

        held = self.__dict__.setdefault("_opened", {})
        name = self.layer_names[self.layer(layer)]
        if name not in held:
            held[name] = Opened.of(self, name)
        value: Opened = held[name]
        return value

    def causes(
        self,
        image: str,
        question: Question | None = None,
        cc: str = "scc",
        layer: str | None = None,
        knowledge: str | None = None,
        overrides: str | Path | None = None,
    ) -> Causes:
        """What caused the answer to an image, by its id: :func:`core.attribution.account.causes`.
        As ``python -m core explain --image``. The network is run.

        question : which classes are held against each other, by which fillings and categories;
        the network's answer and the true scene (or the runner-up) where None.
        """
        from core.attribution.account import causes
        from core.attribution.effects import open_photo

        core = self.core_concepts(cc, knowledge, overrides)
        return causes(open_photo(self.opened(layer), image), core, question)

    def explain(
        self,
        photo: str | Path | Image.Image,
        cc: str = "scc",
        layer: str | None = None,
        knowledge: str | None = None,
        overrides: str | Path | None = None,
    ) -> Account:
        """The same of any photo, which needs no masks: :func:`core.explain.photo.explain_photo`.
        As ``python -m core explain --photo``. The network is run."""
        from core.datasets.decode import read_photo
        from core.explain.photo import explain_photo

        name = "photo"
        if isinstance(photo, (str, Path)):
            name, photo = Path(photo).name, read_photo(photo)
        return explain_photo(self, self.core_concepts(cc, knowledge, overrides), photo, name, layer)

    def table_1(
        self,
        splits: Sequence[str] | None = None,
        iou: str = "image",
        layer: str | None = None,
        knowledge: str | None = None,
        seed: int = 0,
        overrides: str | Path | None = None,
        arrow: bool = False,
        rivals: Sequence[Rival] = (),
    ) -> pd.DataFrame | pa.Table:
        """False and true prediction explanation, a row for each strategy and kind of core
        concepts; each figure with interval, chance and n. As ``python -m core tables``.

        rivals : rows of other methods (:mod:`core.paper.rivals`).

        The paper's other tables need more than a run: see :mod:`core.tables` and :func:`frame_of`.
        """
        from core.paper.tables import table_1

        graph = open_knowledge(knowledge or self.own_knowledge)
        table = table_1(
            self,
            graph,
            splits,
            iou,
            layer,
            seed=seed,
            overrides=_path(overrides),
            rivals=rivals,
        )
        return _given(frame_of(table), arrow)

    def truth(
        self,
        methods: Sequence[str] = (),
        split: str = "",
        photos: int = 120,
        by: str | None = None,
        layer: str | None = None,
        seed: int = 0,
        progress: Report | None = None,
    ) -> Truth:
        """How true each attribution method is: :func:`core.attribution.truth.hold_against_truth`.

        The answer has `.rows` with every figure, `.figure(method, name)`, `.beyond(one, other,
        name)` and the frame `.scores`. As ``python -m core truth``. The network is run, and what
        was found out is kept beside the run.
        """
        from core.attribution.case import Opened
        from core.attribution.judged import Asked
        from core.attribution.truth import hold_against_truth

        asked = Asked(tuple(methods), split, photos, by, layer, seed)
        return hold_against_truth(Opened.of(self, layer), asked, progress)

    # -- what answers rest on -------------------------------------------------------------

    def effects(
        self,
        splits: Sequence[str] | None = None,
        progress: Report | None = None,
        crew: Crew | None = None,
        **asked: Any,
    ) -> Measured:
        """What taking each concept out of each photo does, measured or read where it was:
        :func:`core.attribution.measured.measure_splits`. asked : other fields of its ``Asked``.
        crew : workers of Ray that measure it, this process where None."""
        from core.attribution.case import Opened
        from core.attribution.measured import Asked, measure_splits, measure_spread, read_splits

        chosen = Asked(splits=None if splits is None else tuple(splits), **asked)
        kept = read_splits(self, chosen)
        if kept is not None:
            return kept
        if crew is not None:
            return measure_spread(self, chosen, crew, progress)
        return measure_splits(Opened.of(self, chosen.layer), chosen, progress)

    def reliance(
        self, measured: Measured, cc: str = "scc", knowledge: str | None = None, **asked: Any
    ) -> Reliance:
        """What every scene rests on, of :meth:`effects`; `.rows` and `.shortcuts()` are frames:
        :func:`core.attribution.reliance.reliance`. As ``python -m core reliance``."""
        from core.attribution.reliance import reliance

        return reliance(measured, self.core_concepts(cc, knowledge), **asked)

    def mistakes(
        self, measured: Measured, cc: str = "scc", knowledge: str | None = None
    ) -> Mistakes:
        """Every wrong answer sorted by what was measured; `.errors`, `.counts` and `.slices` are
        frames: :mod:`core.attribution.mistakes`. As ``python -m core mistakes``."""
        from core.attribution.mistakes import sort_split

        return sort_split(self, measured, self.core_concepts(cc, knowledge))

    # -- interventions --------------------------------------------------------------------

    def contribution(
        self,
        cc: str = CHOOSING.core,
        layer: str | None = None,
        strategy: str = CHOOSING.strategy,
        iou: str = CHOOSING.iou,
        over: str = CHOOSING.over,
        knowledge: str | None = None,
        overrides: str | Path | None = None,
        splits: Sequence[str] | None = None,
    ) -> Contribution:
        """Contribution scores of units (Eq. 9); `.ranked(scene, "negative")` is a frame of units.

        splits : summed over these photos; over all that are not judged (test) where None,
        ``["all"]`` over all. As ``python -m core contribution``.
        """
        from core.ablation.contribution import contribution_scores

        every = run_views.splits(self)
        chosen = chosen_on(every, judged_on(every), splits)
        core = self.core_concepts(cc, knowledge, overrides)
        return contribution_scores(self, core, layer, strategy, iou, over, splits=chosen)

    def toggle(
        self,
        units: Sequence[int],
        factor: float = 0.0,
        clamp: float | None = None,
        scene: str | None = None,
        splits: Sequence[str] | None = None,
        images: Sequence[str] | None = None,
        layer: str | None = None,
        progress: Report | None = None,
        estimate: bool = False,
    ) -> Toggled:
        """What disabling units does to the predictions: :class:`core.ablation.result.Toggled`.

        units : multiplied by `factor` (0 disables), or held at `clamp`. scene, splits, images : of
        these images alone; the test split (else val) where no split is named, ``["all"]`` for all.
        The answer has `.accuracy`, `.gain`, and the frames `.scenes`,
        `.gained`, `.lost`, `.confusion`. As ``python -m core toggle``; the second call is quick.

        estimate : of a large run (:data:`core.ablation.recorded.HELD`), the figures of a random
        sample alone, at once, with intervals for those of all images; `.estimated` says of how
        many. Without it `progress` is told the same first.
        """
        from core.ablation.edits import Edit
        from core.ablation.toggler import prepare

        number = self.layer(layer)
        held = self.__dict__.setdefault("_togglers", {})
        name = self.layer_names[number]
        if name not in held:
            held[name] = prepare(self, name)
        edit = Edit(tuple(int(unit) for unit in units), factor, clamp)
        judged = judged_on(run_views.splits(self), splits) if splits or not images else []
        toggler: Toggler = held[name]
        first = toggler.estimate(edit, scene, judged, images) if estimate else None
        return first or toggler.toggle(edit, scene, judged, images, progress=progress)


def frame_of(table: Table, arrow: bool = False) -> pd.DataFrame | pa.Table:
    """A table of :mod:`core.tables` as a frame, in the columns of its CSV file."""
    return _given(pd.read_csv(io.StringIO(table.to_csv()), keep_default_na=True), arrow)


def _root(root: str | Path | None) -> Path:
    return cache_root() if root is None else Path(root)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _given(frame: pd.DataFrame, arrow: bool) -> pd.DataFrame | pa.Table:
    if not arrow:
        return frame
    import pyarrow

    return pyarrow.Table.from_pandas(frame, preserve_index=False)
