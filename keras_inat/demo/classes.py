"""The classes of the demo and their drawings."""

import numpy as np
from PIL import Image

from keras_inat.demo import amphibians_reptiles, arthropods, birds_mammals, fungi_plants, sea_animals, things
from keras_inat.demo.composition import Drawing, compose_image

ORGANISMS: dict[str, tuple[Drawing, ...]] = {
    "Amphibia": (
        amphibians_reptiles.frog,
        amphibians_reptiles.tree_frog,
        amphibians_reptiles.axolotl,
        amphibians_reptiles.newt,
    ),
    "Animalia": (sea_animals.starfish, sea_animals.jellyfish, sea_animals.crab),
    "Arachnida": (arthropods.spider, arthropods.web_spider, arthropods.scorpion),
    "Aves": (birds_mammals.songbird, birds_mammals.owl, birds_mammals.swallow),
    "Fungi": (fungi_plants.toadstool, fungi_plants.bonnets, fungi_plants.chanterelle),
    "Insecta": (arthropods.butterfly, arthropods.beetle, arthropods.dragonfly),
    "Mammalia": (birds_mammals.fox, birds_mammals.cat, birds_mammals.bear, birds_mammals.rabbit),
    "Mollusca": (sea_animals.snail, sea_animals.scallop, sea_animals.octopus),
    "Plantae": (fungi_plants.daisy, fungi_plants.sprig, fungi_plants.cactus),
    "Reptilia": (amphibians_reptiles.snake, amphibians_reptiles.lizard, amphibians_reptiles.turtle),
}
THINGS: dict[str, tuple[Drawing, ...]] = {
    "Boat": (things.boat,),
    "Car": (things.car,),
    "Clock": (things.clock,),
    "Crystal": (things.crystal,),
    "Cup": (things.cup,),
    "House": (things.house,),
    "Key": (things.key,),
    "Kite": (things.kite,),
    "Lamp": (things.lamp,),
    "Rocket": (things.rocket,),
}
DRAWINGS = ORGANISMS | THINGS


def draw_image(class_name: str, rng: np.random.Generator, size: tuple[int, int] = (144, 144)) -> Image.Image:
    """Draws an image of a class.

    Args:
        class_name: A key of `ORGANISMS` or `THINGS`.
        rng: The source of all random choices.
        size: Width and height in pixels.

    Returns:
        An RGB image of that size.

    Raises:
        ValueError: There is no such class.
    """
    if class_name not in DRAWINGS:
        raise ValueError(f"`class_name` must be one of {sorted(DRAWINGS)}. Received: {class_name!r}.")
    drawings = DRAWINGS[class_name]
    return compose_image(drawings[int(rng.integers(len(drawings)))], rng, size)
