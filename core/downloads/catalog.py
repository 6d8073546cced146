"""What ``python -m core get`` fetches: one small table of official addresses.

Sizes and checksums are those published by people who have the file (several of them, or
one where marked); the publishers print none. Where nobody gives one it is None, and what
comes is then only checked against the size its server announces and the archive's own sums.
"""

from __future__ import annotations

from typing import NamedTuple

from core.foundation.errors import unknown


class Download(NamedTuple):
    """One thing to get.

    name : what the command line calls it.
    about : what it is.
    url : official address; empty where the publisher asks for a registration first.
    file : its name as published; a mirror offers the same.
    size : exact bytes, or None. about_bytes : roughly, to be shown, where nobody gives it exactly.
    checksum : ``algorithm:hex digest``, or None.
    licence : in a few words. terms : where the terms are to be read.
    folder : below the folder of downloads, what an archive is unpacked to, or where a plain file
        lies (empty: there itself).
    inner : archives within the archive, by their path, that are unpacked in their place.
    use : what to do with it; ``{path}`` is its path, ``{root}`` the folder of downloads.
    note : said beside the terms.
    """

    name: str
    about: str
    url: str
    file: str
    size: int | None
    about_bytes: int | None
    checksum: str | None
    licence: str
    terms: str
    folder: str = ""
    inner: tuple[str, ...] = ()
    use: str = ""
    note: str = ""

    @property
    def archive(self) -> bool:
        """Is it unpacked? PyTorch's ``.pth.tar`` are no tar files."""
        return self.file.endswith((".zip", ".tar.gz", ".tgz"))

    @property
    def held(self) -> str:
        """Path of the file as published, below the folder of downloads."""
        return self.file if self.archive or not self.folder else f"{self.folder}/{self.file}"

    @property
    def place(self) -> str:
        """Path of the result below the folder of downloads."""
        return self.folder if self.archive else self.held


_ADE_TERMS = "https://groups.csail.mit.edu/vision/datasets/ADE20K/terms/"
_ADE_LICENCE = "non-commercial research and education; photos belong to their owners"
_BRODEN_LICENCE = "research; its parts (ADE20K, OpenSurfaces, Pascal, DTD) keep their own terms"
_PLACES_LICENCE = "CC BY: name the Places paper or project page"
_PLACES_TERMS = "https://github.com/CSAILVision/places365"
_NYU_LICENCE = "none is stated; cite Silberman et al., ECCV 2012"
_NYU_PAGE = "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"
_ONE = "The checksum is from one third party."
_NONE = "Nobody publishes a checksum: only size and the archive's own sums are checked."
_SIZE = "Nobody publishes a checksum: only the announced size is checked."


def _broden(side: int, checksum: str | None = None) -> Download:
    name = f"broden1_{side}"
    return Download(
        name,
        f"Broden 1.0 at {side} pixels: 63,305 photos, 1,197 concepts",
        f"http://netdissect.csail.mit.edu/data/{name}.zip",
        f"{name}.zip",
        None,
        None,
        checksum,
        _BRODEN_LICENCE,
        "http://netdissect.csail.mit.edu/",
        folder=name,
        use="--dataset broden:{path}",
        note=_ONE if checksum else _NONE,
    )


def _places(net: str, about_bytes: int, checksum: str | None = None) -> Download:
    file = f"{net}_places365.pth.tar"
    return Download(
        f"places365-{net}",
        f"{net} of CSAIL, trained on Places365 (365 scenes)",
        f"http://places2.csail.mit.edu/models_places365/{file}",
        file,
        None,
        about_bytes,
        checksum,
        _PLACES_LICENCE,
        _PLACES_TERMS,
        folder="places365",
        use=f"--model places365:{net}:{{path}}",
        note=_ONE if checksum else _SIZE,
    )


DOWNLOADS = (
    Download(
        "ade20k",
        "ADE20K in full, 2021: 27,574 photos with objects, parts, attributes",
        "",
        "ADE20K_2021_17_01.zip",
        None,
        None,
        None,
        _ADE_LICENCE,
        _ADE_TERMS,
        folder="ADE20K_2021_17_01",
        use="--dataset ade20k:{path}",
        note="Register at https://groups.csail.mit.edu/vision/datasets/ADE20K/request_data/ ; "
        "an address comes by mail. Then: get ade20k --from THAT_ADDRESS, or --from FOLDER of the "
        "zip you saved. ade20k-2016 and ade150 need no registration.",
    ),
    Download(
        "ade20k-2016",
        "ADE20K in full, first release (2016): 22,210 photos, objects and parts",
        "https://groups.csail.mit.edu/vision/datasets/ADE20K/ADE20K_2016_07_26.zip",
        "ADE20K_2016_07_26.zip",
        None,
        3_800_000_000,
        None,
        _ADE_LICENCE,
        _ADE_TERMS,
        folder="ADE20K_2016_07_26",
        use="--dataset ade20k:{path}",
        note=_NONE,
    ),
    Download(
        "ade150",
        "ADE20K scene parsing (ADEChallengeData2016): 22,210 photos, 150 labels",
        "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
        "ADEChallengeData2016.zip",
        None,
        970_000_000,
        "md5:7328b3957e407ddae1d3cbf487f149ef",
        _ADE_LICENCE,
        _ADE_TERMS,
        folder="ADEChallengeData2016",
        use="--dataset ade150:{path}",
    ),
    _broden(224, "md5:be13c292eaef3300da03f8d0e48eab1c"),
    _broden(227),
    _broden(384),
    _places("resnet18", 45_000_000, "md5:7a8808eefd4ea7458650ca84855f69b1"),
    _places("resnet50", 97_000_000),
    _places("densenet161", 110_000_000, "md5:07efb6c7f25f832cb567d3644a131e6a"),
    _places("alexnet", 234_000_000, "md5:c9c7e52228ef406ca64f8189585e2a28"),
    Download(
        "places365-categories",
        "the names of the 365 scenes, in the order of the outputs",
        "https://raw.githubusercontent.com/csailvision/places365/master/categories_places365.txt",
        "categories_places365.txt",
        6_833,
        None,
        "md5:06c963b85866bd0649f97cb43dd16673",
        _PLACES_LICENCE,
        _PLACES_TERMS,
        folder="places365",
        note="The networks look for it beside their weights.",
    ),
    Download(
        "conceptnet",
        "ConceptNet 5.7: 34 million assertions, read as they are packed",
        "https://s3.amazonaws.com/conceptnet/downloads/2019/edges/conceptnet-assertions-5.7.0.csv.gz",
        "conceptnet-assertions-5.7.0.csv.gz",
        497_963_447,
        None,
        "sha256:accd65fe94038584295574ddc26e1500c1919c8c4532bf771811cafd0948af7e",
        "CC BY-SA 4.0",
        "https://github.com/commonsense/conceptnet5/wiki/Copying-and-sharing-ConceptNet",
        use="--knowledge conceptnet:{path}",
    ),
    Download(
        "nyuv2",
        "NYU Depth v2, labelled part as published: 1,449 photos, 894 labels (.mat)",
        "http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat",
        "nyu_depth_v2_labeled.mat",
        2_972_037_809,
        None,
        "md5:520609c519fba3ba5ac58c8fefcc3530",
        _NYU_LICENCE,
        _NYU_PAGE,
        folder="nyuv2",
        use="--dataset nyuv2:{root}/nyuv2",
        note="nyuv2-splits and nyuv2-40 belong to it: which photos are for training, and the 40 "
        "labels that most papers use.",
    ),
    Download(
        "nyuv2-splits",
        "the training and test photos of NYU Depth v2",
        "http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat",
        "splits.mat",
        None,
        None,
        "md5:08e3c3aea27130ac7c01ffd739a4535f",
        _NYU_LICENCE,
        _NYU_PAGE,
        folder="nyuv2",
        use="--dataset nyuv2:{root}/nyuv2",
        note=_ONE,
    ),
    Download(
        "nyuv2-40",
        "which of 40 labels each label of NYU Depth v2 is (Gupta et al., CVPR 2013)",
        "https://raw.githubusercontent.com/ankurhanda/nyuv2-meta-data/master/classMapping40.mat",
        "classMapping40.mat",
        None,
        None,
        None,
        "none is stated",
        "https://github.com/ankurhanda/nyuv2-meta-data",
        folder="nyuv2",
        use="--dataset nyuv2:{root}/nyuv2",
        note=_SIZE,
    ),
    Download(
        "opensurfaces",
        "OpenSurfaces 1.0: tables of shapes of materials and objects on photos",
        "http://labelmaterial.s3.amazonaws.com/release/opensurfaces-release-0.zip",
        "opensurfaces-release-0.zip",
        None,
        None,
        None,
        "see the terms; each photo has its own",
        "http://opensurfaces.cs.cornell.edu/",
        folder="opensurfaces",
        use="--dataset opensurfaces:{path}",
        note="Photos are not in it: the release's own script, at the same address, fetches them "
        "into photos/. " + _NONE,
    ),
    Download(
        "coco-panoptic",
        "COCO 2017 panoptic annotations, train and val: 133 labels",
        "http://images.cocodataset.org/annotations/panoptic_annotations_trainval2017.zip",
        "panoptic_annotations_trainval2017.zip",
        None,
        860_000_000,
        "sha256:c05f76d2129b6b561eb70efe16e7006df62f73fb92889132d373b9d90e31a370",
        "CC BY 4.0",
        "https://cocodataset.org/#termsofuse",
        folder="coco/annotations",
        inner=("panoptic_train2017.zip", "panoptic_val2017.zip"),
        use="--dataset coco:{root}/coco",
        note=_ONE,
    ),
    Download(
        "coco-val2017",
        "COCO 2017 validation photos: 5,000",
        "http://images.cocodataset.org/zips/val2017.zip",
        "val2017.zip",
        815_585_330,
        None,
        "md5:442b8da7639aecaf257c1dceb8ba8c80",
        "the photos' own Flickr licences",
        "https://cocodataset.org/#termsofuse",
        folder="coco/val2017",
        use="--dataset coco:{root}/coco",
    ),
)
"""Everything that can be got, in the order of the list."""


def find_download(name: str) -> Download:
    """The entry of a name, in any case. Raises with the nearest names.

    >>> find_download("Broden1_224").folder
    'broden1_224'
    """
    for entry in DOWNLOADS:
        if entry.name == name.lower():
            return entry
    raise unknown("download", name, [entry.name for entry in DOWNLOADS], show=len(DOWNLOADS))
