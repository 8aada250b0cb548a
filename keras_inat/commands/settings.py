"""The command `settings`: every setting with its default and meaning."""

from keras_inat.settings.loading import VARIABLES, list_choices, list_settings
from keras_inat.settings.schema import Config


def run(config: Config) -> None:
    """Prints a line for each setting."""
    variables = {setting: f"{variable}= or " for variable, setting in VARIABLES.items()}
    for name, field in list_settings().items():
        default = field.get_default(call_default_factory=True)
        choices = list_choices(field.annotation)
        meaning = f"{field.description}: {', '.join(map(str, choices))}" if choices else field.description
        print(f"{variables.get(name, '') + name:42} {default!r:>24}  {meaning}")
