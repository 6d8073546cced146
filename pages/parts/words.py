"""The explanation beside each measure: what it is, its equation, how to read it."""

ACCURACY = r"""
The share of images whose most probable class is their scene,
$$\frac{\#\{x : \arg\max_y f_y(x) = y(x)\}}{\#\{x\}}.$$
The line on each bar is Wilson’s 95 % interval: with few images it is long. Images whose scene
the network has no class for are left out. A training split far above the others means that
the network remembers its photos.
"""

THRESHOLD = r"""
A unit *t* is **lit** at a pixel where its activation exceeds its own threshold $T_t$, the
$1-q$ quantile of all its activations over all images,
$$P(a_t > T_t) = q.$$
So every unit is lit in the same small share of all places, and units can be compared.
"""

IOU = r"""
How well a unit’s lit regions and a concept’s annotated regions cover each other, summed over
all images:
$$\mathrm{IoU}(t,c)=\frac{\sum_x |A_t(x)\cap L_c(x)|}{\sum_x |A_t(x)\cup L_c(x)|}.$$
0 means that they never meet, 1 that they are the same. A unit is lit in few places, so 0.05 is
often a lot: read it against chance, not against 1. A unit’s **label** is the concept with the
highest IoU.
"""

CHANCE = r"""
Each image is given the labels of another image, and every unit’s best label is found again,
over all concepts, many times. Whatever overlap is left is luck. **Chance** is the share of
these draws that do at least as well as the unit,
$$p = \frac{1+\#\{\text{draws} \ge \mathrm{IoU}\}}{1+\#\{\text{draws}\}}.$$
Small is good. Units with $p \le 0.05$ are called better than chance; about one in twenty would
get there by luck alone.
"""

DETECTED = r"""
For every unit that is better than chance, its best label. Many units for one concept mean that
the layer spends much on it; a concept that is missing may still be spread over several units.
Scenes are labels too: a unit called “kitchen” is lit all over kitchens, with no one thing in
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
Both networks were shown the same images; those that neither or both get right do not tell them
apart. **p** is McNemar’s exact test on the others: if either network were as likely to be the
one that is right, how often would the counts be at least as uneven? Small is a real
difference; whether it is a large one, the counts say.
"""

TABLE_4 = r"""
The paper’s Table 4. For each wrong prediction: do the concepts that the units learned
(MinMax threshold) fit the core concepts of the *predicted* scene better than those of the true
one? CM asks by consistency, DM by difference, SM by similarity; ties count as failures. In
percent of the false predictions, with bootstrap 95 % intervals. **By chance**: the same with
core concepts exchanged between scenes at random. A figure below chance says that the units saw
the true scene’s concepts after all.
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
threshold $T_t$, the image has lit places. A unit with a long tail to the right picks out few
images strongly; one without a tail is lit a little almost everywhere.
"""

UNIT_SCENES = r"""
For each scene, the share of its images in which the unit is lit at all, and (in the table) the
mean of its activation over all places of all images of the scene. Scenes with few images
swing widely: see the counts at the bars.
"""

ACTIVE_UNITS = r"""
Units for which this image is among their strongest. **Rank 3 of 90** means that the unit is lit
in 90 images and only two others make it peak higher. *Label* is what the unit detects over all
images; *meets here* is the concept it overlaps most in this very image,
$$\frac{|A_t(x)\cap L_c(x)|}{|A_t(x)\cup L_c(x)|},$$
or, in the other definition, with $|L_c|$ taken over the whole dataset in the denominator.
"""

SEARCH = r"""
Images: how much of each photo the concept covers. Units: their IoU with the concept over all
images, and whether it is their best label.
"""
