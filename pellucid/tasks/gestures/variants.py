"""The five ways to train that are compared, and what each of them does."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Variant:
    """One way to train.

    recipe: a built-in one, or a TOML file. title: what tables call it. about: what it does, for people who have not
    heard of it. transfers: whether it begins with a backbone that was trained before.
    """

    recipe: str
    title: str
    about: str
    transfers: bool = True

    @property
    def name(self) -> str:
        """The name of files and links."""
        return Path(self.recipe).stem


VARIANTS = (
    Variant(
        "signs-scratch",
        "From scratch",
        "Every weight begins as a random number, but for first filters that whiten these pictures, where the network "
        "allows that; all that it will ever know comes from them. "
        "This is what the other four have to beat. With few pictures such a network easily remembers them one by one "
        "instead of learning what makes a sign.",
        transfers=False,
    ),
    Variant(
        "signs-frozen",
        "Frozen features",
        "The backbone was trained on other pictures before, and stays exactly as it is: it turns each picture into a "
        "row of numbers, its features. They are computed once and kept, and only the last layer, which weighs them, "
        "learns. That takes seconds, and shows how much of what the backbone knows is of use here.",
    ),
    Variant(
        "signs-frozen-augmented",
        "Frozen, augmented",
        "The backbone still stays as it is, but each epoch sees every picture anew: turned, shifted, sheared, zoomed "
        "or mirrored. The last layer cannot lean on where a hand happens to be. The price: the features of a changed "
        "picture have to be computed again every time.",
    ),
    Variant(
        "signs-finetune",
        "Fine-tuned",
        "The last blocks of the backbone may change too, at a lower rate than the new last layer, so that what they "
        "know is bent towards hands and not washed away. The early blocks, which see edges and colours, stay.",
    ),
    Variant(
        "signs-best",
        "Fine-tuned, our best",
        "The best that we have found: the whole network learns, with augmentation that suits hands, a learning rate "
        "that rises first and then falls, and softer targets, so that the network is not rewarded for being too sure.",
    ),
)
