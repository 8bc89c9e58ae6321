from bench.quartiles import spread


def test_the_median_stands_before_the_quartiles() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) == "4.000 (2.000 to 6.000)"


def test_the_order_of_rounds_is_no_matter() -> None:
    assert spread([3.0, 1.0, 2.0]) == spread([1.0, 2.0, 3.0])
