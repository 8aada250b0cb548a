import numpy as np
from drawn_models import draw_model

from keras_inat.models.closed_form import MACS, PARAMETERS, describe_symbols, list_terms
from keras_inat.models.cost import count_cnn
from keras_inat.settings.schema import Model


def sum_terms(terms, quantity):
    return sum(term.value for term in terms if term.quantity == quantity)


def test_the_terms_add_up_to_the_totals_of_the_table():
    rng = np.random.default_rng(1)
    for _ in range(300):
        config, size = draw_model(rng, 5), int(rng.integers(32, 300))
        rows, terms = count_cnn(config, size, 10), list_terms(config, size, 10)
        assert sum_terms(terms, PARAMETERS) == sum(row.parameters for row in rows)
        assert sum_terms(terms, MACS) == sum(row.macs for row in rows)
        for term in terms:
            assert eval(term.numbers.replace("²", "**2").replace("·", "*")) == term.value, term


def test_the_terms_in_symbols_and_in_numbers():
    config = Model(filters=16, kernel_size=5, dense_units=64)
    terms = list_terms(config, 64, 10)
    m, k, n, num_classes = 16, 5, 64, 10
    s = (64, 32, 16, 8, 4)
    d = m * 2**2
    assert [(term.symbols, term.value) for term in terms] == [
        ("m k² (3 + 4 m)", m * k**2 * (3 + 4 * m)),
        ("4·5 m", 4 * 5 * m),
        ("n (d + 1)", n * (d + 1)),
        ("C (n + 1)", num_classes * (n + 1)),
        ("m k² (3 s₁² + m Σᵢ₌₂ sᵢ²)", m * k**2 * (3 * s[0] ** 2 + m * sum(side**2 for side in s[1:]))),
        ("n d", n * d),
        ("C n", num_classes * n),
    ]
    assert terms[0].numbers == "16·5²·3 + 4·16·5²·16"
    assert terms[4].numbers == "64²·16·5²·3 + (32²+16²+8²+4²)·16·5²·16"
    symbols = describe_symbols(config, 64, 10)
    for words in ("m = 16 filters of side k = 5", "n = 64 neurons", "d = 64 = 16·2² features", "C = 10 classes"):
        assert words in symbols
