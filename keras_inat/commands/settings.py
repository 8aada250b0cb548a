"""Every setting with its default and meaning."""

from keras_inat.config import VARIABLES, list_settings
from keras_inat.sections import Config


def run(config: Config) -> None:
    """Prints a line for each setting."""
    variables = {setting: f"{variable}= or " for variable, setting in VARIABLES.items()}
    for name, field in list_settings().items():
        default = field.get_default(call_default_factory=True)
        print(f"{variables.get(name, '') + name:42} {default!r:>24}  {field.description}")
