"""The source documents' experiments: what each reported, epoch by epoch where it says so, and our recipes of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Experiment:
    """A row: what the source did and reported, our recipe of it, our improved one, and what that must reach.

    ``epochs``: published test accuracy at the end of each epoch; ``seconds``: published wall time of the fit. ``note``:
    what has to be known to read the row.
    """

    document: str
    title: str
    published: str
    as_published: str | None
    improved: str | None = None
    bar: float | None = None
    epochs: tuple[float, ...] = ()
    seconds: float | None = None
    note: str = ""


RANDOM_WEIGHTS = "densenet121-random-weights"
"""``densenet121-as-published`` with weights that know nothing, so that it runs where ImageNet's are not."""

EXPERIMENTS = (
    Experiment(
        "000", "MNIST, ten digits from scratch, one epoch", "about 95 % on the training pictures",
        "mnist-as-published", "mnist", 0.994,
    ),
    Experiment("000", "MNIST, quick", "", None, "mnist-quick", 0.991),
    Experiment("000", "Fashion-MNIST from scratch", "about 89 %", "fashion-as-published", "fashion", 0.92),
    Experiment(
        "000", "Fashion head: the network for digits, all but its last layer frozen", '"not as good as MNIST"',
        "fashion-head-as-published", "fashion-head",
        note="Transfer from digits to clothes does not win: from scratch is better at the same number of epochs. "
        "Improved heads of 25 November stand on `mnist` as it was then.",
    ),
    Experiment(
        "000", "... and fewer layers frozen (its exercise)", "not reported", "fashion-sweep-as-published",
        "fashion-sweep",
        note="Published is the best depth, here chosen on the test pictures: see the sweep below.",
    ),
    Experiment(
        "001", "MNIST 5-9, base", "0.7147 (loss 1.4255)", "mnist-5to9-as-published", "mnist-5to9", 0.99,
        (0.2977, 0.4081, 0.5365, 0.6468, 0.7147), 17.42,
    ),
    Experiment(
        "001", "MNIST 0-4, head on it", "0.6908 (loss 1.3298)", "mnist-0to4-as-published", "mnist-0to4", 0.995,
        (0.4283, 0.5192, 0.5809, 0.6250, 0.6908), 15.70,
        "After one epoch the head is where the base was after two or three; after five it need not be better.",
    ),
    Experiment(
        "002", "Fashion, network A on eight classes", "not reported", "fashion-a-8-classes-as-published",
        "fashion-a-8-classes",
    ),
    Experiment(
        "002", "Sandal or shirt, B from scratch", "0.4984 (loss 0.0319)", "sandal-or-shirt-scratch-as-published",
        "sandal-or-shirt-scratch",
        note="A softmax over one unit is always 1: its accuracy is the share of shirts, and nothing is learnt. The "
        "improved one has a sigmoid and 200 pictures.",
    ),
    Experiment(
        "002", "... with the sigmoid it was meant to have", "not reported", "sandal-or-shirt-sigmoid-as-published",
        note="Better than B on A: transfer does not win here against a correct baseline.",
    ),
    Experiment(
        "002", "... on 200 pictures, as the text has it", "not reported", "sandal-or-shirt-sigmoid-200-as-published"
    ),
    Experiment(
        "002", "Sandal or shirt, B on A, all of A frozen", "0.9886 (loss 0.0989)", "sandal-or-shirt-as-published",
        "sandal-or-shirt", 0.99,
        note="The improved one learns from 200 pictures.",
    ),
    Experiment("002", "... from 200 pictures, as the text has it", "not reported", "sandal-or-shirt-200-as-published"),
    Experiment(
        "003", "DenseNet121 (ImageNet), dense head, 96x96", "0.877", "densenet121-as-published", "stl10", 0.95,
        note="Not the source's test: nine classes here (it has ten), our own split, and pictures that ImageNet may "
        "hold, for STL-10 was drawn from it.",
    ),
    Experiment(
        "003", "... with random weights from a file (sanity row)", "none", RANDOM_WEIGHTS,
        note="No reproduction: it shows that a weights file, streaming, class order, head and Adam work end to end.",
    ),
    Experiment("003", "ten kinds of clothes, own pictures", "not reported", None, "clothing", 0.83),
    Experiment(
        "004", "Fashion 5-9, base", "0.6614", "fashion-5to9-as-published", "fashion-5to9", 0.93,
        (0.3732, 0.5008, 0.5526, 0.5892, 0.6614), 151.0,
    ),
    Experiment(
        "004", "Fashion 0-4, head on 5-9", "0.5592", "fashion-0to4-on-5to9-as-published", "fashion-0to4-on-5to9", 0.93,
        (0.2194, 0.3822, 0.4036, 0.4656, 0.5592), 50.5,
        "The head ends below its base and below the base of its own classes: faster, not better.",
    ),
    Experiment(
        "004", "Fashion 0-4, base", "0.6258", "fashion-0to4-as-published", "fashion-0to4", 0.93,
        (0.3260, 0.3670, 0.4422, 0.5602, 0.6258), 152.9,
    ),
    Experiment(
        "004", "Fashion 5-9, head on 0-4", "0.6988", "fashion-5to9-on-0to4-as-published", "fashion-5to9-on-0to4", 0.93,
        (0.2334, 0.2723, 0.4668, 0.6250, 0.6988), 49.9,
    ),
    Experiment(
        "004", "... fewer layers frozen (its next step)", "not reported", "fashion-depths-as-published",
        note="Published is the best depth, here chosen on the test pictures: see the sweep below.",
    ),
)  # fmt: skip
