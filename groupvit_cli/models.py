"""``groupvit models``: the released weights."""

from groupvit_mmseg.checkpoints.released import LICENSE, RELEASED, cache_folder


def run() -> None:
    """Print a line for each model, the cache and the licence."""
    for weights in RELEASED.values():
        there = (cache_folder() / weights.file).is_file()
        print(
            f'{weights.name:22} {", ".join(weights.training_data):28} '
            + ('cached' if there else '-')
        )
    print(f'cache: {cache_folder()} (GROUPVIT_HOME)')
    print(f'licence of the weights: {LICENSE}')
