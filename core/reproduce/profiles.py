"""What `reproduce` makes each table and figure of the paper from, as small tables of data.

A profile names its inputs, the runs made of them and, for every table and figure, the run, images,
knowledge and settings. ``{data}`` in SPECs and paths is the folder given as ``--data``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import expanded
from core.foundation.settings import Retraining, Settings
from core.paper.printed import EMBEDDINGS, GROUPS, NETWORK


@dataclass(frozen=True)
class Need:
    """An input: what it is, the files that show that it is there, what brings it.

    get : names for ``python -m core get NAME --to DIR``; where empty, `how` says it in words.
    """

    what: str
    files: tuple[str, ...]
    get: tuple[str, ...] = ()
    how: str = ""

    def missing(self, data: Path) -> list[str]:
        """Those of its files that are not there."""
        paths = [file.replace("{data}", str(data)) for file in self.files]
        return [path for path in paths if not expanded(path).exists()]

    def bring(self, data: Path) -> str:
        """How to get it, in one line."""
        lines = [f"python -m core get {name} --to {data}" for name in self.get]
        return "; ".join([*lines, *([self.how] if self.how else [])])


@dataclass(frozen=True)
class Explaining:
    """Tables 1, 2 and 3: images of `splits` (all where empty) of one run.

    embedding, groups : of Tables 2 and 3; groups as a share of all concepts.
    rivals : of Table 1, rows that are not the paper's own methods: labelling methods, or
        ``conceptshap`` (:mod:`core.paper.rivals`). encoder : SPEC, of photos and words, for those
        that compare the two; where empty, they are not run.
    """

    run: str
    splits: tuple[str, ...] = ()
    iou: str = "image"
    embedding: str = "TransE"
    groups: float = 0.0
    rivals: tuple[str, ...] = ()
    encoder: str = ""


@dataclass(frozen=True)
class Networks:
    """Table 4: row label → run."""

    runs: Mapping[str, str]
    splits: tuple[str, ...] = ()
    iou: str = "image"


@dataclass(frozen=True)
class Merging:
    """Table 5. groups : number of groups in the paper → here; a number from 0 to 1 is a share of
    the concepts."""

    run: str
    groups: Mapping[int, float]
    embeddings: tuple[str, ...] = EMBEDDINGS
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metrics:
    """Table 6: column of the paper → run."""

    runs: Mapping[str, str]
    train: tuple[str, ...] = ("train",)
    test: tuple[str, ...] = ("test",)


KS = tuple(range(1, 21))
"""Numbers of disabled units of a whole curve: 20 is the paper's last."""


@dataclass(frozen=True)
class Disabling:
    """Figures 3 and 4. select, judge : splits on which units are chosen and judged (all images
    where empty). at : the k that are made; :data:`KS` where empty. halves : halvings of the
    held-out protocols; 0 leaves them out."""

    run: str
    select: tuple[str, ...] = ()
    judge: tuple[str, ...] = ()
    at: tuple[int, ...] = ()
    rankings: tuple[str, ...] = ("icc", "scc", "random")
    draws: int = 20
    halves: int = 5
    held_out: tuple[str, ...] = ("by_predicted_scene", "global")


@dataclass(frozen=True)
class Retrainings:
    """Figure 5: name in the figure → (what is trained, keys of the inputs it needs)."""

    models: Mapping[str, tuple[Retraining, tuple[str, ...]]]


Part = Explaining | Networks | Merging | Metrics | Disabling | Retrainings


@dataclass(frozen=True)
class Profile:
    """Everything `reproduce` needs to know.

    Attributes
    ----------
    about : one sentence. differs : in what it is not what the paper did, printed above every table;
        by part where there is more to say.
    needs : inputs by key. either : sets of inputs of which one is enough, the first that is there
        being taken: key → (SPEC, keys of needs); ``{key}`` may stand in SPECs of runs.
    runs : key → (settings, keys of needs). knowledge : SPEC, and the key of its need.
    parts : by key of :data:`core.paper.printed.PARTS`. not_run : rows that no part makes, and
        why.
    """

    name: str
    about: str
    differs: tuple[str, ...]
    needs: Mapping[str, Need]
    runs: Mapping[str, tuple[Settings, tuple[str, ...]]]
    knowledge: tuple[str, str]
    parts: Mapping[str, Part]
    also_differs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    not_run: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    either: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = field(default_factory=dict)


RIVALS = ("conceptshap", "clip_dissect")
"""The rows of Table 1 that are not the paper's own methods. CLIP-Dissect is run where a profile
names an encoder. No weights of CLIP come with anything that these get, so `paper` names none;
`nyuv2` names ConSE, which is no CLIP and says so below the table (docs/labels.md)."""

FURTHER = ("ace", "vrx")
"""Rows that the paper's table does not have."""

SLOW = (RIVALS[0], FURTHER[0])
"""What takes minutes, and is left out of a quick try."""

LEFT_OUT = {
    name: "it takes minutes, and a quick try was asked for" for name in ("ConceptSHAP", "ACE")
}
"""Of Table 1, where a rival is not among those asked for."""


# -- the paper's own setting ------------------------------------------------------------------


def _places(name: str) -> Need:
    files = (f"{name}_places365.pth.tar", "categories_places365.txt")
    return Need(
        f"{name} of the Places365 release, with its classes",
        tuple(f"{{data}}/places365/{file}" for file in files),
        (f"places365-{name}", "places365-categories"),
    )


def _broden(name: str, folder: str, more: str = "") -> Need:
    index = f"index_{folder}.csv"
    return Need(
        f"{name} as it is in Broden 1 at 224 pixels{more}",
        ("{data}/broden1_224/index.csv", f"{{data}}/broden1_224/{index}"),
        ("broden1_224",),
        f"then, in broden1_224, (head -n 1 index.csv; grep '^{folder}/' index.csv) > {index}",
    )


def _places_spec(name: str) -> str:
    return f"places365:{name}:{{data}}/places365/{name}_places365.pth.tar"


_CONCEPTNET = "conceptnet:{data}/conceptnet-assertions-5.7.0.csv.gz"

_NETWORKS = {
    "ResNet-50": "resnet50",
    "DenseNet-161": "densenet161",
    "AlexNet": "alexnet",
}


def _on_ade(name: str) -> tuple[Settings, tuple[str, ...]]:
    return (
        Settings("{ade20k}", _places_spec(name), knowledge=_CONCEPTNET),
        ("ade20k", f"places365-{name}"),
    )


def _retrained(name: str) -> tuple[Retraining, tuple[str, ...]]:
    asked = Retraining(
        "{ade20k}",
        _places_spec(name),
        knowledge=_CONCEPTNET,
        cc=("scc", "icc"),
        weights=(0.1, 0.3, 1.0),
        seeds=3,
        epochs=4,
        side=128,
        train="train",
        test="val",
    )
    return asked, ("ade20k", f"places365-{name}")


PAPER = Profile(
    "paper",
    "ADE20K and OpenSurfaces, networks of Places365, ConceptNet 5.7: what the paper used.",
    (
        "The paper's own data, network and graph; its relations of ConceptNet, its alignment, the "
        "images it took (a split is never named) and its seeds are not published.",
    ),
    {
        "broden-ade20k": _broden("ADE20K", "ade20k", ": the version the paper used"),
        "ade20k-2016": Need(
            "ADE20K, the full release of 2016",
            ("{data}/ADE20K_2016_07_26/images",),
            ("ade20k-2016",),
        ),
        "broden-opensurfaces": _broden("OpenSurfaces", "opensurfaces"),
        "opensurfaces-release": Need(
            "OpenSurfaces as released, with its photos",
            ("{data}/opensurfaces/photos",),
            ("opensurfaces",),
            "its own script then fetches the photos",
        ),
        **{f"places365-{n}": _places(n) for n in ("resnet18", *_NETWORKS.values())},
        "conceptnet": Need(
            "ConceptNet 5.7, the assertions",
            ("{data}/conceptnet-assertions-5.7.0.csv.gz",),
            ("conceptnet",),
        ),
    },
    {
        "resnet18": _on_ade("resnet18"),
        **{name: _on_ade(name) for name in _NETWORKS.values()},
        "opensurfaces": (
            Settings("{opensurfaces}", _places_spec("resnet18"), knowledge=_CONCEPTNET),
            ("opensurfaces", "places365-resnet18"),
        ),
    },
    (_CONCEPTNET, "conceptnet"),
    {
        "table1": Explaining("resnet18", rivals=RIVALS),
        "table2": Explaining("resnet18", groups=168),
        "table3": Explaining("resnet18", groups=168),
        "table4": Networks(_NETWORKS),
        "table5": Merging("resnet18", {k: k for k in GROUPS}),
        "table6": Metrics({"ADE20k": "resnet18", "Opensurfaces": "opensurfaces"}, test=("val",)),
        "figure3": Disabling("resnet18"),
        "figure4": Disabling("opensurfaces"),
        "figure5": Retrainings(
            {shown: _retrained(name) for shown, name in {NETWORK: "resnet18", **_NETWORKS}.items()}
        ),
    },
    {
        "table1": (
            "ACE and VRX, which the paper's table does not have, are no rows here: ACE takes "
            "minutes a scene, and VRX grows with photos × classes; `tables RUN --ace --vrx` asks "
            "for them.",
        ),
        "table4": ("All images here; the paper: 1,000 drawn at random.",),
        "table6": (
            "The paper does not say its split; here Broden's own, train and val. OpenSurfaces as "
            "released has none.",
        ),
        "figure5": (
            "Which models the paper drew is not in its text; λ, epochs and input side are not "
            "published: here λ is chosen among 0.1, 0.3 and 1 on a part of train held out.",
        ),
    },
    {"table1": LEFT_OUT},
    {
        "ade20k": (
            ("broden:{data}/broden1_224:index_ade20k.csv", ("broden-ade20k",)),
            ("ade20k:{data}/ADE20K_2016_07_26", ("ade20k-2016",)),
        ),
        "opensurfaces": (
            ("broden:{data}/broden1_224:index_opensurfaces.csv", ("broden-opensurfaces",)),
            ("opensurfaces:{data}/opensurfaces", ("opensurfaces-release",)),
        ),
    },
)


# -- on NYUv2 ---------------------------------------------------------------------------------

_CN = "triples:{data}/conceptnet/CN-100K"
_TEST = "Judged on the 654 test photos, which the ResNet-18 has not seen; the paper names no split."
_NYU = "nyuv2:{data}/nyuv2"
_RESNET = "torchvision:resnet18:{data}/nyuv2/resnet18_nyuv2.pt"
_SQUEEZENET = (
    "python:tests.squeezenet_places:load:"
    "{data}/places365_squeezenet/squeezenet_places365_152arrays.npz"
)

NYUV2 = Profile(
    "nyuv2",
    "NYU Depth v2 with two networks and ConceptNet's CN-100K: the paper's measurements on other "
    "data.",
    (
        "Other data than the paper's, so a difference is no failure to reproduce it: NYUv2 (1,449 "
        "photos, 27 scenes, 39 objects, no parts or colours) for ADE20K (22,210 photos, 1,105 "
        "concepts), a ResNet-18 trained on NYUv2's train split from scratch for that of Places365, "
        "CN-100K (102,400 facts) for ConceptNet 5.7.",
    ),
    {
        "nyuv2-folders": Need(
            "NYU Depth v2, the labelled part, as folders of photos and masks",
            tuple(
                f"{{data}}/nyuv2/{name}"
                for name in ("images", "labels40", "labels40.txt", "scenes.csv")
            ),
            how="docs/datasets.md says how they are laid out",
        ),
        "nyuv2-published": Need(
            "NYU Depth v2, the labelled part, as published",
            tuple(
                f"{{data}}/nyuv2/{name}.mat"
                for name in ("nyu_depth_v2_labeled", "splits", "classMapping40")
            ),
            ("nyuv2", "nyuv2-splits", "nyuv2-40"),
        ),
        "resnet18-nyuv2": Need(
            "a ResNet-18 for NYUv2's scenes",
            ("{data}/nyuv2/resnet18_nyuv2.pt",),
            how="train one: python -m core retrain cc --dataset nyuv2:DIR/nyuv2 --model "
            "torchvision:resnet18:random --cc '' --head new",
        ),
        "squeezenet": Need(
            "a SqueezeNet of Places365",
            tuple(
                f"{{data}}/places365_squeezenet/{name}"
                for name in (
                    "squeezenet_places365_152arrays.npz",
                    "categories_places365.txt",
                    "places365CNN_mean.binaryproto",
                )
            ),
            how="published weights as 152 arrays, read by tests/squeezenet_places.py",
        ),
        "cn-100k": Need(
            "CN-100K, ConceptNet's most common facts",
            ("{data}/conceptnet/CN-100K/train.txt",),
            how="train.txt, valid.txt, test.txt of the CN-100K release",
        ),
    },
    {
        "resnet18": (
            Settings(_NYU, _RESNET, ("layer4",), knowledge=_CN),
            ("nyuv2", "resnet18-nyuv2"),
        ),
        "squeezenet": (
            Settings(_NYU, _SQUEEZENET, ("fire9",), knowledge=_CN),
            ("nyuv2", "squeezenet"),
        ),
    },
    (_CN, "cn-100k"),
    {
        "table1": Explaining("resnet18", ("test",), rivals=(*RIVALS, *FURTHER), encoder="conse"),
        "table2": Explaining("resnet18", ("test",), groups=168 / 320),
        "table3": Explaining("resnet18", ("test",), groups=168 / 320),
        "table4": Networks(
            {"ResNet-18 (NYUv2)": "resnet18", "SqueezeNet (Places365)": "squeezenet"}, ("test",)
        ),
        "table5": Merging("resnet18", {k: k / 320 for k in GROUPS}),
        "table6": Metrics({"ADE20k": "resnet18", "Opensurfaces": "squeezenet"}),
        "figure3": Disabling("resnet18", ("test",), ("test",)),
        "figure4": Disabling("squeezenet", ("test",), ("test",), at=(1, 5, 10, 15, 20), halves=0),
        "figure5": Retrainings(
            {
                NETWORK: (
                    Retraining(
                        _NYU,
                        _RESNET,
                        weights=(1.0,),
                        seeds=3,
                        epochs=2,
                        side=96,
                        since="layer4",
                        knowledge=_CN,
                    ),
                    ("nyuv2", "resnet18-nyuv2"),
                ),
                "SqueezeNet (Places365)": (
                    Retraining(
                        _NYU,
                        _SQUEEZENET.replace(":load:", ":trainable:"),
                        weights=(1.0,),
                        seeds=3,
                        epochs=2,
                        since="fire9",
                        knowledge=_CN,
                    ),
                    ("nyuv2", "squeezenet"),
                ),
            }
        ),
    },
    {
        "table1": (_TEST,),
        "table2": (
            _TEST,
            "Groups: the same share of the concepts as the paper's 168 of 320 is.",
        ),
        "table3": (
            _TEST,
            "Groups: the same share of the concepts as the paper's 168 of 320 is.",
        ),
        "table4": (
            _TEST,
            "No network of the paper's is to be had here; ours stand below its rows.",
        ),
        "table5": (
            "On all 1,449 images. Each of the paper's numbers of groups stands for the same share "
            "of 320 among NYUv2's concepts, so neighbouring rows fall together.",
        ),
        "table6": (
            "Fitted on the 795 training photos, judged on the 654 test photos; the paper does not "
            "say its split.",
            "In the column Opensurfaces: the same photos with a SqueezeNet of Places365, which "
            "never learned NYUv2's scenes (378 of its 654 answers are none of them).",
        ),
        "figure3": ("Units are chosen and judged on the same 654 test photos, as published.",),
        "figure4": ("For OpenSurfaces: NYUv2 with the SqueezeNet of Places365, fire9.",),
        "figure5": (
            "Short trainings of the last stage: ResNet-18 from layer4 on at 96 pixels, SqueezeNet "
            "from fire9 on with a new head; 2 epochs, λ = 1, three seeds.",
        ),
    },
    {
        "table1": LEFT_OUT,
        "table4": {
            name: f"no {name} for NYUv2's scenes here: its Places365 weights are not to be had"
            for name in ("ResNet-50", "DenseNet-161", "AlexNet")
        },
    },
    {"nyuv2": ((_NYU, ("nyuv2-folders",)), (_NYU, ("nyuv2-published",)))},
)

# -- on NYUv2, with another network -----------------------------------------------------------

_LITE0 = "timm:tf_efficientnet_lite0:{data}/nyuv2/efficientnet_lite0_nyuv2.pt"
_OF_LITE0 = ("nyuv2", "efficientnet-nyuv2")
_SHOWN_LITE0 = "EfficientNet-Lite0 (NYUv2)"

NYUV2_LITE0 = replace(
    NYUV2,
    name="nyuv2-efficientnet",
    about="NYU Depth v2 with an EfficientNet-Lite0, which is right far more often than the "
    "ResNet-18 of `nyuv2`, and ConceptNet's CN-100K: the paper's measurements on other data.",
    differs=(
        "Other data than the paper's, so a difference is no failure to reproduce it: NYUv2 (1,449 "
        "photos, 27 scenes, 39 objects, no parts or colours) for ADE20K (22,210 photos, 1,105 "
        "concepts), an EfficientNet-Lite0 with ImageNet's body and a head fitted on NYUv2's train "
        "split for the ResNet-18 of Places365, CN-100K (102,400 facts) for ConceptNet 5.7.",
    ),
    needs={
        **{key: need for key, need in NYUV2.needs.items() if key != "resnet18-nyuv2"},
        "efficientnet-nyuv2": Need(
            "an EfficientNet-Lite0 for NYUv2's scenes (and the package timm: make optional)",
            ("{data}/nyuv2/efficientnet_lite0_nyuv2.pt",),
            how="fit one: python -m core retrain cc --dataset nyuv2:DIR/nyuv2 --model "
            "timm:tf_efficientnet_lite0:IMAGENET_FILE --cc '' --head new",
        ),
    },
    runs={
        "efficientnet": (Settings(_NYU, _LITE0, ("bn2",), knowledge=_CN), _OF_LITE0),
        "squeezenet": NYUV2.runs["squeezenet"],
    },
    parts={
        **NYUV2.parts,
        "table1": Explaining("efficientnet", ("test",), rivals=(*RIVALS, *FURTHER)),
        "table2": Explaining("efficientnet", ("test",), groups=168 / 320),
        "table3": Explaining("efficientnet", ("test",), groups=168 / 320),
        "table4": Networks({_SHOWN_LITE0: "efficientnet"}, ("test",)),
        "table5": Merging("efficientnet", {k: k / 320 for k in GROUPS}),
        "table6": Metrics({"ADE20k": "efficientnet", "Opensurfaces": "squeezenet"}),
        "figure3": Disabling("efficientnet", ("test",), ("test",)),
        "figure5": Retrainings(
            {
                _SHOWN_LITE0: (
                    Retraining(
                        _NYU,
                        _LITE0,
                        weights=(1.0,),
                        seeds=3,
                        epochs=2,
                        side=128,
                        since="conv_head",
                        knowledge=_CN,
                    ),
                    _OF_LITE0,
                )
            }
        ),
    },
    also_differs={
        **NYUV2.also_differs,
        "table1": (
            *NYUV2.also_differs["table1"],
            "No CLIP-Dissect: the encoder at hand, ConSE by EfficientNet-Lite0 for ImageNet, has "
            "the body of this network: such labels would be no evidence of its units.",
        ),
        "table6": (
            *NYUV2.also_differs["table6"],
            "In the column ADE20k the row of the network is the EfficientNet-Lite0.",
        ),
        "figure5": ("A short training from conv_head on at 128 pixels: 2 epochs, λ = 1, 3 seeds.",),
    },
)

PROFILES = {"paper": PAPER, "nyuv2": NYUV2, "nyuv2-efficientnet": NYUV2_LITE0}


def open_profile(name: str) -> Profile:
    """A profile by its name, or your own as ``package.module:NAME``.

    Raises UnitscopeError with the nearest for one there is not.
    """
    module, _, own = name.partition(":")
    if own:
        try:
            made = getattr(importlib.import_module(module), own)
        except (ImportError, AttributeError) as err:
            raise UnitscopeError(f"profile {name!r} cannot be imported: {err}") from err
        if not isinstance(made, Profile):
            raise UnitscopeError(f"{name!r} is no Profile of core.reproduce.profiles")
        return made
    if name not in PROFILES:
        raise unknown("profile", name, PROFILES)
    return PROFILES[name]


def filled(text: str, data: Path, chosen: Mapping[str, str]) -> str:
    """A SPEC with ``{data}`` and the chosen one of ``either`` filled in.

    >>> filled("folder:{data}/photos", Path("here"), {})
    'folder:here/photos'
    """
    for key, spec in {**chosen, "data": str(data)}.items():
        text = text.replace("{" + key + "}", spec)
    return text


def quick(part: Part) -> Part:
    """The same part made small, to see whether everything works: never to be quoted."""
    if isinstance(part, Disabling):
        return replace(part, at=(1, 20), draws=3, halves=min(part.halves, 1))
    if isinstance(part, Retrainings):
        models = {
            name: (replace(asked, seeds=1, epochs=1, weights=asked.weights[-1:]), needs)
            for name, (asked, needs) in part.models.items()
        }
        return replace(part, models=models)
    if isinstance(part, Explaining):
        return replace(part, rivals=tuple(name for name in part.rivals if name not in SLOW))
    if isinstance(part, Merging):
        few = {k: part.groups[k] for k in list(part.groups)[::4]}
        return replace(part, groups=few, embeddings=part.embeddings[-1:])
    return part
