"""The explanation beside each measure: what it is, its equation, how to read it."""

ACCURACY = r"""
The share of images whose most probable class is their scene,
$$\frac{\#\{x : \arg\max_y f_y(x) = y(x)\}}{\#\{x\}}.$$
The line on each bar is Wilson’s 95 % interval: with few images it is long. Images whose scene
the network has no class for are left out. A training split far above the others means that
the network remembers its photos.
"""

THRESHOLD = r"""
A unit *t* is **active** at a pixel where its activation exceeds its own threshold $T_t$, the
$1-q$ quantile of all its activations over all images,
$$P(a_t > T_t) = q.$$
So every unit is active in the same small share of all places, and units can be compared.
"""

IOU = r"""
How well a unit’s active regions and a concept’s annotated regions cover each other, summed over
all images:
$$\mathrm{IoU}(t,c)=\frac{\sum_x |A_t(x)\cap L_c(x)|}{\sum_x |A_t(x)\cup L_c(x)|}.$$
0 means that they never overlap, 1 that they are the same. A unit is active in few places, so 0.05
is often a lot: read it against chance, not against 1. A unit’s **label** is the concept with the
highest IoU.
"""

METHODS = r"""
One unit, named by five methods; **IoU** is the same for all of them, over all images and with
every pixel counted, so that rows can be compared.

- *NetDissect*: the concept with the highest IoU, over all pixels or only over those where the
  concept’s category is annotated (its own measure).
- *Most often the best in a photo*: in every photo where the unit is active, the concept it overlaps
  most (Eq. 2, colours and scenes left out); of all photos the commonest. Its own measure is the
  share of these photos.
- *Formula*: up to three concepts joined by OR, AND, AND NOT. **Beam search** (CEN) keeps the best
  five on the way. **Best of all** goes on until no formula can be better; *proven* says that it
  got there.

A formula is chosen among millions, so it always overlaps at least as well as one concept, by luck
too: `python -m core formulas RUN --shuffles 5` measures how much luck finds.
"""

UNIT_MAP = r"""
Each dot is a unit. Units whose mean activations rise and fall over the same images
(Pearson’s correlation) are **near each other**; the colour is the category of the label, the size
its IoU, faint ones are no better than chance. Only nearness can be read off: t-SNE keeps
neighbours together, but distances between groups, and their sizes, mean nothing; so the map is
stretched to fill its frame. The place of a unit does not depend on labels. Rest the pointer on a
dot; click it to open the unit.
"""

CHANCE = r"""
Each image is given the masks of another image of its split, and every unit’s best label is found
again, over all concepts, in many rounds. Whatever overlap is left is luck: the unit’s own null
distribution. The **p-value (permutation)** is the share of these rounds in which the unit does at
least as well as with the true masks,
$$p = \frac{1+\#\{\text{rounds} \ge \mathrm{IoU}\}}{1+\#\{\text{rounds}\}}.$$
Small is good. A layer has many units, so $p$ is **adjusted** for the false discovery rate over
those that are active (Benjamini–Hochberg). Units with an adjusted $p \le 0.05$ are called better
than chance: of the units so called, one in twenty at most is expected to be so by luck.
"""

UNTRAINED = r"""
Two numbers to compare it with. **Masks exchanged between photos**: how many units come out better
than chance where there is nothing to find, judged in the same manner; the mean over all rounds.
**The untrained twin**: the same architecture with random weights, its batch norm estimated on these
photos, and its units counted and tested alike. Where a thing usually is in a photo, brightness and
colour make some of its units better than chance; what training did is what goes beyond.
"""

DETECTED = r"""
For every unit that is better than chance, its best label. Many units for one concept mean that
the layer spends much on it; a concept that is missing may still be spread over several units.
Scenes are labels too: a unit called “kitchen” is active all over kitchens, with no one thing in
them standing out.
"""

REACH = r"""
For every overlap on the horizontal axis, the share of the layer’s units whose best label has at
least that IoU. A line further to the right means clearer units. IoUs depend on how large the
concepts are in the photos: compare lines of different datasets with care.
"""

JACCARD = r"""
A concept counts as detected by a side if it is the best label of at least one unit that is
better than chance. The **Jaccard index** of two sides is
$$\frac{\#\text{detected by both}}{\#\text{detected by either}}:$$
1 where they detect the same, 0 where nothing is shared. A layer with more units has more
chances to detect something.
"""

AGREEMENT = r"""
Both networks were given the same photos; those that neither or both predict correctly do not
distinguish them. **p** is McNemar’s exact test on the others: if either network were as likely to
be the one that is correct, how often would the counts be at least as uneven? A small p is
significant; whether the difference is large, the counts say.
"""

TABLE_4 = r"""
The paper’s Table 4. For each wrong prediction: do the concepts that the units learned
(MinMax threshold) fit the core concepts of the *predicted* scene better than those of the true
one? CM asks by consistency, DM by difference, SM by similarity; ties count as failures. In
percent of the false predictions, with 95 % intervals over photos. **By chance**: the same with
core concepts exchanged between scenes at random. A figure below chance says that the units
learned the true scene’s concepts after all.
"""

CONFUSION = r"""
Row: the scene of the image. Column: what the network said. The number is images, the shade is
the share of the row. The diagonal is right. **Click a cell** to see its images; click again to
see all.
"""

PREDICTION = r"""
The network’s outputs turned into probabilities that sum to one,
$$p_y = \frac{e^{f_y}}{\sum_k e^{f_k}}.$$
Networks are often more certain than they are right.
"""

PEAKS = r"""
The unit’s largest activation in every image, counted in bins. Beyond the dashed line, the
threshold $T_t$, the image has active places. A unit with a long tail to the right picks out few
images strongly; one without a tail is active a little almost everywhere.
"""

UNIT_SCENES = r"""
For each scene, the share of its images in which the unit is active at all, and (in the table) the
mean of its activation over all places of all images of the scene. Scenes with few images
swing widely: see the counts at the bars.
"""

ACTIVE_UNITS = r"""
Units for which this image is among their strongest. **Rank 3 of 90** means that the unit is active
in 90 images and only two others make it peak higher. *Label* is what the unit detects over all
images; *overlaps here* is the concept it overlaps most in this very image,
$$\frac{|A_t(x)\cap L_c(x)|}{|A_t(x)\cup L_c(x)|},$$
or, in the other definition, with $|L_c|$ taken over the whole dataset in the denominator.
"""

SEARCH = r"""
Images: how much of each photo the concept covers. Units: their IoU with the concept over all
images, and whether it is their best label.
"""

LEARNED = r"""
**LC(x)**: the concepts that the layer’s units have learned of photo *x* (Eq. 2). A unit is
*active* where it exceeds its threshold; its overlap with a concept is
$\mathrm{IoU}=\frac{|A_t(x)\cap L_c(x)|}{|A_t(x)\cup L_c(x)|}$ in this photo, or with $|L_c|$ taken
over the whole dataset in the denominator. A concept is learned, if for some active unit:

- *any overlap* (whole layer): IoU > 0;
- *each unit’s best* (highest IoU): it is the concept the unit overlaps most;
- *above a threshold* (MinMax): IoU ≥ τ(x), the least of the active units’ best IoUs.

Colours and scene labels are left out. Overlap needs masks: what nobody annotated cannot be
learned.
"""

CORE = r"""
The essential concepts of a scene, found in one of three ways.

- **SCC**, scoping: $\mathrm{SCC}(y) = RC(y, G) \cap C_y$: concepts that the knowledge graph
  relates to the scene *and* that are annotated in its photos. Broad.
- **ICC**, identifier: of those and the two most frequent, the ones in at least the share
  $P_{sc}$ of the scene’s photos, the highest share at which no two scenes have the same set.
  Narrow: what distinguishes scenes.
- **Top 10**: the ten concepts in most of the scene’s photos; no graph.

Colours and scene labels are never core concepts.
"""

CM = r"""
**Consistency** (Eq. 3): of the scene’s core concepts, the share that the units have learned,
$$\mathrm{CM}(x,y)=\frac{|LC(x)\cap CC(y)|}{|CC(y)|}.$$
1 means that all of them were learned. Each grey tick is one scene; the bars are the two of this
photo, with their rank among all. A scene of one or two core concepts jumps between 0 and 1.
"""

SM = r"""
**Similarity** (Eq. 4): learned concepts and core concepts, both over either,
$$\mathrm{SM}(x,y)=\frac{|LC(x)\cap CC(y)|}{|LC(x)\cup CC(y)|}.$$
Unlike CM it falls when much else was learned. Each grey tick is one scene.
"""

DM = r"""
**Difference** (Eq. 5): how much was learned that is not core to the scene, for every one of
its core concepts,
$$\mathrm{DM}(x,y)=\frac{|LC(x)\setminus CC(y)|}{|CC(y)|}.$$
Here **small** is near; it may exceed 1, and is large for scenes of few core concepts. Rank 1 is
the smallest.
"""

VERDICT = r"""
The paper calls a mistake *explained* by a measure where it is strictly larger at the predicted
scene $y_p$ than at the true one $y_t$ (Eq. 6); a tie is a failure. For one photo this is a hint
and not a proof: handing the core concepts to other scenes at random passes the test in about
four of ten mistakes (Table 1, `python -m core tables RUN`). Note that the paper’s formula for
DM asks for *more* that is foreign to the predicted scene, the opposite of what its text says.
"""

CAUSES = r"""
Two scenes are held against each other: the network’s answer $a$, and the true scene or the
runner-up $b$. The *margin* is the difference of their logits, $z_a - z_b$.

- **Measured effect** (blue): how much of the margin is lost when the concept’s region is filled and
  the network is run again,
  $$\Delta(c) = [z_a - z_b](x) - [z_a - z_b](x \setminus c),$$
  the mean over the fillings; the thin line is their range. To the right: it speaks for $a$.
- **Regions elsewhere** (grey): the same done to regions of the same shape and size laid elsewhere
  in the photo, from the least to the largest effect. Filling anything changes the photo; only what
  leaves the grey band is due to the concept. A region that matters no more than these lies above
  the band by chance once in $n+1$ cases, with $n$ regions. The band is measured for the concepts
  of the largest effect; what is too large to be laid elsewhere has none.
- **Evidence** (orange): the concept’s part of the margin. Where the network ends in a mean over
  places and one linear layer, the margin is an exact sum over units and places, so it can be split
  among concepts; elsewhere it is by gradients.

Evidence says where the margin is read off, the measured effect what it rests on: a unit that looks
at a bed may answer to the room around it.
"""

BY_UNIT = r"""
Two scenes are held against each other: the network’s answer $a$, and the runner-up $b$. The
*margin* is the difference of their logits. Where the means of the layer’s maps go through one
linear layer, it is an exact sum over units,
$$z_a-z_b=\sum_t \bar A_t(x)\,(W_{ta}-W_{tb})+(b_a-b_b),$$
and a unit’s **evidence** is its part. It is what the margin loses when the unit is disabled.
Elsewhere it is by integrated gradients, whose gap is stated. What lies under the units in your
photo is not known: nobody annotated it.
"""

STANDINGS = r"""
**Core**: one of the scene’s core concepts. **Used**: its measured effect speaks for
the scene, and lies outside the band of regions elsewhere.

- *core and used*: the prediction rests on a core concept;
- *core and unused*: it is there, and the prediction does not rest on it;
- *used and not core*: a **shortcut**;
- *neither*: it does not matter;
- *not tested*: its effect is small, or it is too large for a region of its shape elsewhere.

For the second scene the signs are turned round: what lowers the margin speaks for it.
"""

SIDES = r"""
**Core and detected**: core concepts of the scene that some unit has learned of this photo. **Core,
not detected**: annotated in the photo, and no unit has learned them. **Core, not annotated**:
nobody drew a mask of them here, so they could not be detected; they may be there all the same.
**Detected, not core**: learned concepts that are not core to the scene. Click a concept to see it:
its mask stays bright, and the yellow line is where the unit beneath is active. A number is a unit;
click it to see what else it responds to.
"""

OWN_PHOTO = r"""
Nobody annotated your photo, so nothing can be said of what its pixels show. Instead every active
unit speaks for its *label*, the concept it overlaps best on the run’s own photos, where that is
better than chance.

How well does that stand in for masks? Badly. On NYUv2’s test photos, such labels named a
concept that the masks confirm in 18 % (ResNet-18, layer4) and 22 % (SqueezeNet, fire9) of
cases, where a constant answer reaches 86 % and 30 %; CM by labels and CM by masks hardly agree
(correlation 0.05 and 0.07). See `docs/explain.md`. Take this as what the active units are known
for, **not** as what is in the photo.
"""

SCENE_CONCEPTS = r"""
$C_y$: everything annotated in at least one photo of the scene. $RC(y, G)$: the words that the
knowledge graph relates to it by AtLocation, LocatedNear, HasA, PartOf, RelatedTo, UsedFor or
MadeOf, one step away, in either direction; each keeps the facts that brought it in.
*Frequency*: the share of the scene’s photos with the concept. **SCC** $= RC \cap C_y$. **ICC**:
of the SCC and the two most frequent, those with frequency at least $P_{sc}$. Facts are only as
good as the graph, and as the word that the name was brought to.
"""

GRAPH = r"""
The scene is in the middle; around it the concepts that a fact joins to it, and the core
concepts of the chosen kind. **Nearer** means in more of the scene’s photos. **Full** dots are
in its photos, **faint** ones, outermost, in none. A dark ring marks core concepts; the colour
is the category. A faint line without facts: the concept came in by frequency alone. Rest the
pointer on a line to read its facts; click a dot to see which photos and units have the concept.
"""

PERCENTAGE = r"""
$\mathrm{Count}(y,p)$: concepts in at least the share *p* of a scene’s photos. $P_c$ is the
**highest** *p* at which it differs between any two scenes; $P_{sc}$ the same for the related
and frequent ones alone. Both are searched over every frequency that occurs. Where no *p* tells
all scenes apart, the one with the most different sets is taken, and the scenes that then share
a set are named: no account can tell those apart by their ICC.
"""

GROUPS = r"""
Concepts are merged two by two, always the two groups whose members are nearest on average (cosine
distance of their vectors; 0 is the same, 1 nothing in common), until *k* groups remain. Vectors
come from the knowledge graph by an **embedding**: a model that learned to tell true facts from
made-up ones. *Similar spelling* compares the letters of the names instead, as a control.
Concepts that the graph has no word for stay alone; colours and scenes never take part. Names near
each other in a graph need not mean the same: look, and keep apart what should not be merged.
"""

GAIN = r"""
For *k* groups, how much higher the IoU of units is with the best **group** (the union of its
members’ regions) than with the best single concept, on average. The grey band holds the middle
95 % of **random** groups of the same sizes: larger regions alone change IoU too. *Similar names*
groups by spelling. A line within the grey band says that the embedding adds nothing.
"""

NAMES = r"""
A scene or concept takes part in facts only through a word of the graph. *exact* and
*normalised* (case, plural, hyphens) are safe. **Guesses** are marked: *lemmatised* (dining room
→ dine room), *qualifier* (mountain snowy → mountain) and *fuzzy* (a letter off). *none*: no word
was found, and the graph says nothing of it; that of the head noun (printer room → room) is only
*suggested*, and counts as *head noun* once accepted. The score is 1 where nothing had to be
changed.
"""

CONTRIBUTION = r"""
Does a unit speak for a scene or against it? In each photo *x* of the scene, the concepts that the
unit learned there are counted: those among the scene’s core concepts for it, the others against it,
$$\mathrm{score}(t,y)=\sum_{x\in D_y}\bigl(P(x)-N(x)\bigr)\qquad\text{(Eq. 9)}.$$
As published, the sum is over the photos the network gets right. A high score says that the unit
responds to the scene’s core concepts; a low one, that it responds to other things **in the
scene’s own photos**. Neither says that switching it off changes an answer: look.
"""

TOGGLE = r"""
Disabling a unit sets its whole map to 0. Where the network ends in an average over places
and one linear layer, the prediction of every image follows at once,
$$\text{logits}-\sum_{t\in S}\overline{a_t}\,W_t ,$$
exactly (*closed form*). Elsewhere the rest of the network is run again on the kept maps
(*replayed tail*), or the whole of it on the stored photos. Which method computed the answer is
written beside it; each is checked against a real forward pass.

A ring is the accuracy before, a dot the accuracy after, with the number of photos beside each
scene; scenes of fewer than ten photos are drawn as one.

The interval of the change is Agresti and Min’s for pairs: the same photos before and after.
**Units that are chosen by looking at these very photos do better on them than on new ones.**
Choose on one split, judge on another.
"""

PROTOCOLS = r"""
**By the true scene** is how the paper does it: in every photo the units of its *true* scene are
disabled, the most positive where the network was right, the most negative where it was
wrong. That takes an oracle: one must know the answer to know what to do. **By the predicted
scene** and **the same units everywhere** need none.

Curves are in points from the accuracy without any edit. Each is set against controls of the same
size: units drawn at random (20 draws, the band is the middle 95 %), the most active ones, those
with the largest weights, those with the largest gradient × activation, and a greedy search. Choose
units on one split and judge them on another for an honest figure.
"""

RETRAIN = r"""
While the network learns scenes, a second, throw-away layer learns from the same features which
**golden concepts** are in the photo,
$$L = L_s + \lambda\, L_c,\qquad L_c=-\sum_{c^*}\log P(c^*)\qquad\text{(Eq. 10)}.$$
$c^*$ are the concepts annotated in the photo that belong to its scene (SCC, ICC or Top 10), or
all that are annotated. The **control** is the same training with $\lambda=0$: same start, same
batches, same budget. Only what goes beyond the control can be due to the concepts.

A fifth of the training photos is held out; it ends training and chooses λ. The test photos are
looked at once, at the end.
"""

FIGURE_5 = r"""
The paper’s Figure 5. **Original**: the network as it was, with Wilson’s 95 % interval over test
photos. The others: the mean over trainings with different batches (seeds), with Student’s 95 %
interval; with one seed there is none. Of several λ the one that did best on the held-out photos
is shown. Compare SCC and ICC with the **control**, not with the original: training on changes a
network by itself.
"""

GAIN = r"""
*Gain*: share of test photos right, minus the control’s of the same seed. It is called more than
luck only where **both** 95 % intervals leave 0 out: *over seeds* (Student’s t: would other
batches do the same?) and *over photos* (matched pairs: would other test photos?).
"""

LEARNING = r"""
How often each training was right on the held-out photos after every epoch; the dot marks the
epoch that counts. Lines that rise and fall again have begun to learn their photos by heart.
Where a network’s first weights were trained on all training photos, it has seen these too, and
the choice is less sure than it looks; the test photos are not touched by that.
"""

TABLE_6 = r"""
The paper’s Table 6: a linear SVM says the scene from how the explanations measure up, standing
beside the network. Its features, by group:

- *metrics*: CM, SM and DM of the photo with every scene (Eqs. 3 to 5);
- *mrr*: the mean of $1/\text{rank}$ of each scene in the three metrics;
- *hidden*: the mean activation of each unit.

**From masks**: what the units learned is read off the photo’s masks (as published), so a person
must annotate a photo before this SVM can say its scene. It tells how much the measures know, and
may not be set against the network. **From labels**: each active unit speaks for its label; no
annotation of the test photo is used, so this may. **Masks alone**: which concepts are annotated,
without network and knowledge. Where that does as well, the gain is the annotator’s.

Intervals are 95 %, of accuracies Wilson’s, of gains Agresti and Min’s for matched pairs.
"""

RELIANCE = r"""
For every photo $i$ of the scene that shows the concept, it is what the scene's margin $m$ loses
without the concept, beyond what it loses without regions of the same shape elsewhere,
$$d_i = [m(x)-m(x\setminus c)] - \overline{[m(x)-m(x\setminus \text{elsewhere})]},$$
averaged over the photos, with Student's 95 % interval. The scene's **lead** is its mean margin.
**Relied on** is what carries more than a fiftieth of the lead, by more than luck (sign-flip test,
false discovery rate 5 % over all pairs of a scene and a concept). **Core** is what the knowledge
graph says belongs to the scene. **Core but ignored**: all of the interval lies below a fiftieth
of the lead. Filling a region is no perfect way of removing a thing; the control bears the same
paint.
"""

SHORTCUTS = r"""
Over **all** photos that show the concept, whatever their true scene: what removing it costs the
margin of the listed scene over the mean of all others, beyond its control. A shortcut pulls photos
of other scenes too (*on other scenes*). Rows are ordered by the lower end of the interval, as a
share of the scene's lead; $q$ is the sign-flip test's p-value adjusted by Benjamini and Hochberg
over all pairs of a scene and a concept.
"""

MISTAKES = r"""
Each wrong answer is of the first kind that fits. **Wrong label suspected**: cross-validated
classifiers on the pooled features and on what is annotated both say the same other scene, by
confident learning (Northcutt et al. 2021). **Misled**: without one concept the answer is right,
without a region of its shape elsewhere it is not, and the concept is used. **Ambiguous**: core
concepts of both scenes are there and used. **Missed**: core concepts of the true scene are there,
and none is used. **Unexplained**: the rest. *Used* means an effect, beyond its control, of at least
a tenth of what right answers lead by.
"""

SLICES = r"""
*Expected* is the error rate that the photos with the concept would have if wrong answers fell by
chance within each scene. $p$ is of Fisher's exact test, over several scenes with their
hypergeometric distributions convolved; $q$ is adjusted by Benjamini and Hochberg over all slices.
"""

FAILURE = r"""
**AUROC**: the chance that a wrong answer's score lies above a right one's; 0.5 is chance. Each
score is a logistic regression fitted on the other split; intervals are of 2,000 bootstrap resamples
of photos. The **share of evidence** is how much of all positive evidence for the answer lies on its
core concepts; the **share of effect** is the same with measured effects. The **share of area** uses
masks alone: where it does as well, the annotator knows it, not the network.
"""
